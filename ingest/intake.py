"""What comes in: both readers of the log, up to the buffer, and where they stand.

Decoding the messages of one poll goes on while the next one is under way. The two readers share a
budget of messages for each turn: the live one comes first, the backfill has what is left, and a
tenth in any case, or a sidecar at its limit would never get a lane back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contract.decode import Decoder
from contract.log import LogProblem, Trouble
from contract.table import DEAD_SCHEMA
from ingest.ahead import DecodeAhead
from ingest.backfill import Backfill
from ingest.buffer import Buffer
from ingest.flow import FlowControl, Turn
from ingest.gaps import resolve_position
from ingest.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contract.clock import Clock
    from contract.log import LogSource
    from contract.marker import Marker
    from contract.table import TableDefinition
    from ingest.admission import Admission
    from ingest.config import IngestSettings
    from ingest.executor import Worker
    from ingest.ports import IngestLog

_LOG = logging.getLogger(__name__)
_BUSY_POLL_S = 0.02  # longest wait for live messages while there are others to read
_RESERVED = 10  # one part of so many of a turn's messages is the backfill's in any case


class Intake:
    """Of one pipeline, on its thread. `begin` comes first, with every claim of the table."""

    def __init__(
        self,
        definition: TableDefinition,
        log: IngestLog,
        log_again: Callable[[], LogSource],
        decoder: Worker,
        settings: IngestSettings,
        clock: Clock,
    ) -> None:
        self._definition = definition
        self._log = log
        self._log_again = log_again
        self._settings = settings
        self._clock = clock
        self._decoder = Decoder(definition)
        self._worker = decoder
        self._ahead = DecodeAhead(self._decoder, decoder)
        self._backfill: Backfill | None = None
        self._flow = FlowControl(settings.buffer_rows_max, settings.buffer_bytes_max)
        self._suspects: set[int] = set()  # partitions whose position the log refused
        self.signals = Signals(settings, clock.monotonic_s())
        self.buffer = Buffer(definition.stored_schema, DEAD_SCHEMA, {})

    def begin(self, marker: Marker, admission: Admission) -> dict[int, int]:
        """Read on from the marker; the live positions."""
        starts = {p: marker.live_offset(p) for p in marker.next}
        self.admission = admission
        self.buffer = Buffer(self._definition.stored_schema, DEAD_SCHEMA, starts)
        self.signals = Signals(self._settings, self._clock.monotonic_s())
        self._topic_id = marker.topic_id
        ahead = DecodeAhead(self._decoder, self._worker)
        self._backfill = Backfill(self._log_again, ahead, admission, self.buffer, self._topic_id)
        self._log.assign(starts, self._topic_id)
        return starts

    @property
    def paused(self) -> bool:
        """Whether fetching pauses."""
        return self._flow.paused

    def read(self, held: tuple[int, int]) -> list[LogProblem]:
        """One turn of both readers. `held`: rows and bytes that are being committed."""
        settings, backfill = self._settings, self._reader_again()
        longest_s = _BUSY_POLL_S if backfill.active else settings.poll_timeout_s
        budget = settings.poll_messages
        fetched = self._log.poll(budget, min(settings.poll_timeout_s, longest_s))
        self._take_live()
        self._ahead.put(fetched)
        if self._ahead.is_done():
            self._take_live()
        for problem in fetched.problems:
            if problem.trouble is Trouble.OUT_OF_RANGE and problem.partition is not None:
                self._suspects.add(problem.partition)
        left = max(budget - len(fetched.messages), budget // _RESERVED, 1)
        rows, size_bytes = held[0] + self.buffer.rows, held[1] + self.buffer.size_bytes
        has_room = not self._flow.paused and self._flow.has_room(rows, size_bytes)
        problems = backfill.step(left if has_room else 0, self._clock.monotonic_s())
        return [*fetched.problems, *problems]

    def take(self) -> None:
        """Admit and buffer what is being decoded; from then on the positions are behind it."""
        self._take_live()
        if self._backfill is not None:
            self._backfill.take(self._clock.monotonic_s())

    def _take_live(self) -> None:
        coming = self._ahead.take()
        if coming is None:
            return
        fetched, decoded = coming
        now_s = self._clock.monotonic_s()
        if decoded is not None:
            admitted = self.admission.admit(decoded)
            self.buffer.add_rows(admitted.rows, admitted.duplicates)
            self.buffer.add_rejects(admitted.rejects, admitted.skipped, admitted.tombstones)
            times_us = fetched.messages.timestamps_us
            self.signals.read(len(times_us), decoded.rejects.num_rows, max(times_us), now_s)
        self.admission.advance(fetched.positions)
        self.buffer.advance(fetched.positions, now_s)

    def control_flow(self, held: tuple[int, int], *, crowded: bool) -> Turn:
        """Pause and resume fetching; what was done. `held` as for `read`."""
        rows, size_bytes = held[0] + self.buffer.rows, held[1] + self.buffer.size_bytes
        turn = self._flow.update(rows, size_bytes, crowded=crowded)
        partitions = sorted(self.buffer.positions)
        if turn is Turn.PAUSE:
            self._log.pause(partitions)
        elif turn is Turn.RESUME:
            self._log.resume(partitions)
        return turn

    def take_new_partitions(self, partitions: tuple[int, ...]) -> None:
        """Read those that are new from their beginning."""
        self.take()  # whoever assigns anew does it from the positions
        if new := sorted(set(partitions) - set(self.buffer.positions)):
            _LOG.info("topic %s: new partitions %s", self._log.topic, new)
            starts = dict.fromkeys(new, 0)
            self.buffer.positions.update(starts)
            self.admission.advance(starts)
            self._assign(self.buffer.positions)

    def resolve_suspects(self) -> None:
        """Find out what refused positions mean. OperatorError: a gap that nobody has accepted."""
        self.take()
        now_s, now_ms = self._clock.monotonic_s(), int(self._clock.wall_s() * 1000)
        accept, log = self._settings.accept_gaps, self._log
        for partition in sorted(self._suspects):
            position = self.buffer.positions.get(partition, 0)
            bounds = log.bounds(partition)
            gap = resolve_position(log.topic, partition, position, bounds, accept, now_ms)
            if gap is not None:
                _LOG.warning("gap noted: partition %d, %s", partition, gap)
                self.buffer.add_gap(gap, now_s)
                self.admission.advance({partition: gap.to_offset})
        if self._suspects:
            self._suspects.clear()
            self._assign(self.buffer.positions)
        self._reader_again().resolve_suspects(accept, now_s, now_ms)

    def close(self) -> None:
        """Leave the log."""
        if self._backfill is not None:
            self._backfill.close()
        self._log.close()

    def _reader_again(self) -> Backfill:
        assert self._backfill is not None
        return self._backfill

    def _assign(self, positions: Mapping[int, int]) -> None:
        self._log.assign(positions, self._topic_id)
        if self._flow.paused:
            self._log.pause(sorted(positions))
