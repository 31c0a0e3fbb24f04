"""The second reader: brings lanes that waited back to where the live reader is.

It reads the same log from the first offset that a lane misses and keeps the rows of such lanes
alone (`Admission.admit_again`). It takes what the live reader leaves of their common budget, and
its rows go through the same buffer into the same commits, so the marker says at any time how far
each lane has come: a restart goes on from there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contract.log import LogProblem, Trouble
from ingest.gaps import resolve_backfill

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.log import LogSource
    from ingest.admission import Admission
    from ingest.ahead import DecodeAhead
    from ingest.buffer import Buffer

_LOG = logging.getLogger(__name__)
POLL_S = 0.002  # the live reader must not wait for it


class Backfill:
    """Used by the pipeline's thread alone. The log is opened when it is needed first."""

    def __init__(
        self,
        open_log: Callable[[], LogSource],
        ahead: DecodeAhead,
        admission: Admission,
        buffer: Buffer,
        topic_id: str,
    ) -> None:
        self._open_log = open_log
        self._log: LogSource | None = None
        self._ahead = ahead
        self._admission = admission
        self._buffer = buffer
        self._topic_id = topic_id
        self._positions: dict[int, int] = {}  # of the assignment: what was taken, not what came
        self._suspects: set[int] = set()  # partitions whose position the log refused

    @property
    def active(self) -> bool:
        """Whether it reads."""
        return bool(self._positions)

    def step(self, budget_messages: int, now_s: float) -> tuple[LogProblem, ...]:
        """Take what was decoded, and poll so many messages; what the log says beside them."""
        self.take(now_s)
        wanted = self._admission.behind()
        if not wanted and not self._positions:
            return ()
        if not wanted:
            self._leave()
            return ()
        if self._log is None:
            self._log = self._open_log()
        if wanted.keys() != self._positions.keys() or any(
            wanted[p] < self._positions[p] for p in wanted
        ):
            self._assign(self._log, wanted)
        if budget_messages <= 0:
            return ()
        fetched = self._log.poll(budget_messages, POLL_S)
        self._ahead.put(fetched)
        if self._ahead.is_done():
            self.take(now_s)
        self._suspects |= {
            p.partition
            for p in fetched.problems
            if p.trouble is Trouble.OUT_OF_RANGE and p.partition is not None
        }
        return fetched.problems

    def take(self, now_s: float) -> None:
        """Admit and buffer what was being decoded."""
        coming = self._ahead.take()
        if coming is None:
            return
        fetched, decoded = coming
        positions = {p: o for p, o in fetched.positions.items() if p in self._positions}
        duplicates = 0
        if decoded is not None:
            rows, duplicates = self._admission.admit_again(decoded.rows)
            self._buffer.add_rows(rows, duplicates)
        self._positions |= {p: max(o, self._positions[p]) for p, o in positions.items()}
        if self._admission.advance_again(positions) or duplicates:
            self._buffer.touch(now_s)

    def resolve_suspects(self, accept_gaps: bool, now_s: float, now_ms: int) -> None:
        """Find out what refused positions mean. OperatorError: a gap that nobody has accepted."""
        if self._log is None or not self._suspects:
            return
        self.take(now_s)
        for partition in sorted(self._suspects & self._positions.keys()):
            low, end = self._log.bounds(partition)
            position = self._positions[partition]
            lost = self._admission.lost(partition, low)
            for gap in resolve_backfill(
                self._log.topic, partition, position, (low, end), lost, accept_gaps, now_ms
            ):
                _LOG.warning("gap noted: partition %d, %s", partition, gap)
                self._buffer.note_gap(gap, now_s)
                self._admission.pass_over(partition, gap.lanes, gap.to_offset)
        self._suspects.clear()
        self._positions.clear()  # the next step assigns anew

    def close(self) -> None:
        """Leave the log. A client that is not polled gathers what it has to say for ever."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _leave(self) -> None:
        _LOG.info("all lanes that need not wait have met the live reader")
        self._positions.clear()
        self.close()

    def _assign(self, log: LogSource, wanted: dict[int, int]) -> None:
        if not self._positions:
            _LOG.info("topic %s: lanes are read again from %s", log.topic, wanted)
        self._positions = dict(wanted)
        self._suspects.clear()
        self._admission.begin_backfill(wanted)
        log.assign(wanted, self._topic_id)
