"""From the log to the tables: poll, decode, admit, buffer, flush. No client library in here.

One thread runs `run`; beside it a decoder works on the messages of one poll while the next one is
under way, a committer runs at most one flush, and a watcher looks at the topic now and then.
The table's marker alone decides where to start. See `ingest.start` for that, and `ingest.commit`
for how a commit ends.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from contract.decode import Decoder
from contract.duplicates import DuplicateFilter
from contract.errors import UnavailableError
from contract.health import NO_HEALTH
from contract.log import LogProblem, Trouble
from contract.table import DEAD_SCHEMA, TableDefinition
from ingest.admission import Admission
from ingest.buffer import Buffer
from ingest.flow import FlowControl, Turn
from ingest.flush import Flush, Flusher, FlushReport, TopicGuard, Upkeep
from ingest.monitor import Monitor
from ingest.start import LogState, claim_dead, claim_rows, resolve_position, seed
from ingest.table_watch import TableWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from contract.clock import Clock
    from contract.decode import Decoded
    from contract.health import Figure, Health
    from contract.log import Fetched
    from ingest.backoff import Backoff
    from ingest.commit import TableWriter
    from ingest.config import IngestSettings
    from ingest.executor import Worker
    from ingest.ports import IngestLog, TopicLook, TopicState
    from ingest.stop import Stop

_LOG = logging.getLogger(__name__)
_FUTURE_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline is built from. `rows` and `dead` are not claimed yet."""

    definition: TableDefinition
    log: IngestLog
    look: TopicLook  # called on other threads than `log`
    rows: TableWriter
    dead: TableWriter
    committer: Worker
    watcher: Worker
    decoder: Worker
    clock: Clock
    backoff: Callable[[], Backoff]
    stop: Stop
    health: Health = NO_HEALTH
    figures: Callable[[], Mapping[str, Figure]] = dict  # shown beside the pipeline's own


class Pipeline:
    """One table's way from Kafka to Iceberg."""

    def __init__(self, parts: Parts, settings: IngestSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._decoder = Decoder(parts.definition)
        self._flow = FlowControl(settings.buffer_rows_max, settings.buffer_bytes_max)
        self._buffer = Buffer(parts.definition.stored_schema, DEAD_SCHEMA, {})
        # What the last poll brought and is still being decoded: not counted anywhere yet.
        self._coming: tuple[Fetched, Future[Decoded] | None] | None = None
        self._flushing: Future[FlushReport] | None = None
        self._held = (0, 0)  # rows and bytes of the flush under way
        self._looking: Future[TopicState] | None = None
        self._look_due_s = 0.0
        self._suspects: set[int] = set()  # partitions whose position the log refused
        name = parts.rows.table.name
        self._monitor = Monitor(name, parts.log, parts.health, parts.clock, parts.figures)

    @property
    def held_rows(self) -> int:
        """Rows in memory, those of the flush under way included."""
        return self._held[0] + self._buffer.rows

    def run(self) -> None:
        """Start, work until asked to stop, commit what was read, leave.

        Raises OperatorError (FencedError among them) where a person must act; UnavailableError if
        the last flush found no time.
        """
        try:
            if not self._begin_patiently():
                return
            while not self._parts.stop.requested():
                self.step()
            self.finish()
        finally:
            self._parts.log.close()

    def begin(self) -> None:
        """Claim the tables, seed the duplicate rule, and take the log up where the table ends."""
        parts = self._parts
        state = self._log_state()
        floor_head = parts.dead.table.head()
        floor = floor_head.marker.epoch if floor_head.marker else 0
        name, now_ms = parts.rows.table.name, int(parts.clock.wall_s() * 1000)
        accept = self._settings.accept_gaps
        marker = parts.rows.claim(
            lambda head: claim_rows(head, name, parts.definition, state, floor, accept, now_ms)
        )
        dead = parts.dead.claim(lambda head: claim_dead(head, parts.dead.table.name, marker))
        duplicates = DuplicateFilter(parts.definition)
        seeded = seed(duplicates, parts.definition, parts.rows.table, marker)
        self._admission = Admission(parts.definition, duplicates, marker, dead)
        starts = {p: marker.next_offset(p) for p in marker.next}
        self._buffer = Buffer(parts.definition.stored_schema, DEAD_SCHEMA, starts)
        self._guard = TopicGuard(
            parts.look, parts.log.topic, state.topic_id, parts.stop, parts.backoff(), parts.health
        )
        upkeep = Upkeep(self._settings.expire_every_commits, self._settings.keep_snapshots)
        self._table_watch = TableWatch(
            parts.rows.check, parts.committer, self._settings.topic_check_s
        )
        self._flusher = Flusher(parts.rows, parts.dead, self._guard.check, parts.clock, upkeep)
        parts.log.assign(starts, state.topic_id)
        self._look_due_s = parts.clock.monotonic_s() + self._settings.topic_check_s
        self._monitor.started(marker.epoch, starts, seeded)

    def step(self) -> None:
        """One turn: what has finished, what has come, what is due."""
        self._reap()
        fetched = self._parts.log.poll(self._settings.poll_messages, self._settings.poll_timeout_s)
        self._take_coming()
        decoded = None
        if len(fetched.messages):
            decoded = self._parts.decoder.submit(partial(self._decoder.decode, fetched.messages))
        self._coming = (fetched, decoded)
        if decoded is None or decoded.done():
            self._take_coming()
        now_s = self._parts.clock.monotonic_s()
        for problem in fetched.problems:
            self._take_problem(problem, now_s)
        self._watch(now_s)
        self._flush_if_due(now_s)
        self._table_watch.step(now_s, busy=self._flushing is not None)
        self._control_flow()
        self._monitor.show(self._buffer, self._held, now_s)

    def _take_coming(self) -> None:
        """Admit and buffer what was being decoded; from then on the positions are behind it."""
        if self._coming is None:
            return
        (fetched, decoded), self._coming = self._coming, None
        if decoded is not None:
            admitted = self._admission.admit(decoded.result())
            self._buffer.add_rows(admitted.rows, admitted.duplicates)
            self._buffer.add_rejects(admitted.rejects, admitted.skipped, admitted.tombstones)
        self._admission.advance(fetched.positions)
        self._buffer.advance(fetched.positions, self._parts.clock.monotonic_s())

    def finish(self) -> None:
        """Commit everything that was read, within the time that `stop` leaves."""
        self._take_coming()
        self._await_flush()
        if self._buffer.dirty:
            self._start_flush()
            self._await_flush()

    def _begin_patiently(self) -> bool:
        """Try `begin` until catalog and broker answer; False if asked to stop before."""
        backoff = self._parts.backoff()
        while not self._parts.stop.requested():
            try:
                self.begin()
                return True
            except UnavailableError as error:
                delay_s = backoff.next_s()
                self._monitor.cannot_start(error, delay_s)
            self._parts.stop.wait(delay_s)
        return False

    def _log_state(self) -> LogState:
        log = self._parts.log
        topic_id = log.topic_id()
        return LogState(log.topic, topic_id, {p: log.bounds(p) for p in log.partitions()})

    # -- flushing

    def _flush_if_due(self, now_s: float) -> None:
        buffer, settings = self._buffer, self._settings
        if self._flushing is not None or not buffer.dirty:
            return
        full = buffer.rows >= settings.flush_rows or 2 * buffer.size_bytes >= (
            settings.buffer_bytes_max
        )
        if full or self._flow.paused or buffer.age_s(now_s) >= settings.flush_interval_s:
            self._start_flush()

    def _start_flush(self) -> None:
        self._held = (self._buffer.rows, self._buffer.size_bytes)
        admission = self._admission
        flush = Flush(self._buffer.drain(), admission.next_offsets(), admission.remembered())
        self._flushing = self._parts.committer.submit(lambda: self._flusher.flush(flush))

    def _await_flush(self) -> None:
        stop = self._parts.stop
        while self._flushing is not None and not self._flushing.done():
            if not stop.left_s():
                raise UnavailableError(
                    "the last commit did not end in time; if it is not in the table, its messages "
                    "are read again at the next start"
                )
            self._parts.clock.sleep(_FUTURE_POLL_S)
        self._reap()

    def _reap(self) -> None:
        """Take the result of a flush that has ended; what it raised is raised here."""
        if self._flushing is None or not self._flushing.done():
            return
        report = self._flushing.result()
        self._flushing, self._held = None, (0, 0)
        self._parts.log.hint({p: min(by_lane) for p, by_lane in report.marker.next.items()})
        self._monitor.committed(report)

    def _control_flow(self) -> None:
        size_bytes = self._held[1] + self._buffer.size_bytes
        turn = self._flow.update(self.held_rows, size_bytes)
        partitions = sorted(self._buffer.positions)
        if turn is Turn.PAUSE:
            self._parts.log.pause(partitions)
            self._monitor.paused()
        elif turn is Turn.RESUME:
            self._parts.log.resume(partitions)
            self._monitor.resumed()

    # -- the topic

    def _take_problem(self, problem: LogProblem, now_s: float) -> None:
        if problem.trouble is not Trouble.TRANSIENT:
            self._look_due_s = now_s
        if problem.trouble is Trouble.OUT_OF_RANGE and problem.partition is not None:
            self._suspects.add(problem.partition)
        self._monitor.say(problem.text, now_s)

    def _watch(self, now_s: float) -> None:
        """Have the topic looked at when it is due, and act on what was seen."""
        if self._looking is None and now_s >= self._look_due_s:
            self._looking = self._parts.watcher.submit(self._parts.look)
        if self._looking is None or not self._looking.done():
            return
        looked, self._looking = self._looking, None
        self._look_due_s = now_s + self._settings.topic_check_s
        self._take_coming()  # whoever assigns anew does it from the positions
        try:
            state = looked.result()
            self._guard.require(state.topic_id)
            self._take_new_partitions(state.partitions)
            self._resolve_suspects(now_s)
            self._monitor.broker_answers()
        except UnavailableError as error:
            self._monitor.broker_away(error, now_s)

    def _take_new_partitions(self, partitions: tuple[int, ...]) -> None:
        if new := sorted(set(partitions) - set(self._buffer.positions)):
            _LOG.info("topic %s: new partitions %s", self._parts.log.topic, new)
            starts = dict.fromkeys(new, 0)
            self._buffer.positions.update(starts)
            self._admission.advance(starts)
            self._assign(self._buffer.positions)

    def _resolve_suspects(self, now_s: float) -> None:
        if not self._suspects:
            return
        log, now_ms = self._parts.log, int(self._parts.clock.wall_s() * 1000)
        for partition in sorted(self._suspects):
            position = self._buffer.positions.get(partition, 0)
            bounds = log.bounds(partition)
            accept = self._settings.accept_gaps
            gap = resolve_position(log.topic, partition, position, bounds, accept, now_ms)
            if gap is not None:
                _LOG.warning("gap noted: partition %d, %s", partition, gap)
                self._buffer.add_gap(gap, now_s)
                self._admission.advance({partition: gap.to_offset})
        self._suspects.clear()
        self._assign(self._buffer.positions)

    def _assign(self, positions: Mapping[int, int]) -> None:
        self._parts.log.assign(positions, self._guard.topic_id)
        if self._flow.paused:
            self._parts.log.pause(sorted(positions))
