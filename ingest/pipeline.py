"""From the log to the tables: poll, decode, admit, buffer, flush. No client library in here.

One thread runs `run`; beside it a decoder works on the messages of one poll while the next one is
under way, a committer runs at most one flush, and a watcher looks at the topic now and then.
The table's marker alone decides where to start. See `ingest.start` for that, and `ingest.commit`
for how a commit ends.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.duplicates import DuplicateFilter
from contract.errors import UnavailableError
from contract.health import NO_HEALTH
from contract.log import LogProblem, Trouble
from ingest.admission import Admission
from ingest.flow import Turn
from ingest.flush import Flush, Flusher, FlushReport, TopicGuard, Upkeep
from ingest.intake import Intake
from ingest.metrics import Metrics
from ingest.monitor import Monitor
from ingest.overload import Overload, no_pin
from ingest.start import LogState, claim_dead, claim_rows, seed
from ingest.table_watch import TableWatch
from ingest.topic_watch import TopicWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from contract.clock import Clock
    from contract.health import Figure, Health
    from contract.levels import Level
    from contract.log import LogSource
    from contract.table import TableDefinition
    from ingest.backoff import Backoff
    from ingest.breaker import Readings
    from ingest.commit import TableWriter
    from ingest.config import IngestSettings
    from ingest.executor import Worker
    from ingest.overload import PinSource
    from ingest.ports import IngestLog, TopicLook
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
    log_again: Callable[[], LogSource]  # opens the same log once more, for the backfill
    health: Health = NO_HEALTH
    figures: Callable[[], Mapping[str, Figure]] = dict  # shown beside the pipeline's own
    pins: PinSource = no_pin
    on_level: Callable[[Level], None] = lambda _level: None  # told when it changes, and first
    rss_bytes: Callable[[], int] = lambda: 0  # of the process; 0: unknown
    metrics: Metrics = field(default_factory=Metrics)


class Pipeline:
    """One table's way from Kafka to Iceberg."""

    def __init__(self, parts: Parts, settings: IngestSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._intake = Intake(
            parts.definition, parts.log, parts.log_again, parts.decoder, settings, parts.clock
        )
        self._flushing: Future[FlushReport] | None = None
        self._held = (0, 0)  # rows and bytes of the flush under way
        name = parts.rows.table.name
        self._metrics = parts.metrics.of(parts.definition.name)
        self._monitor = Monitor(
            name, parts.log, parts.health, parts.clock, self._metrics, parts.figures
        )

    @property
    def held_rows(self) -> int:
        """Rows in memory, those of the flush under way included."""
        return self._held[0] + self._intake.buffer.rows

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
            self._intake.close()

    def begin(self) -> None:
        """Claim the tables, seed the duplicate rule, and take the log up where the table ends."""
        parts, settings = self._parts, self._settings
        state = self._log_state()
        floor_head = parts.dead.table.head()
        floor = floor_head.marker.epoch if floor_head.marker else 0
        name, now_ms = parts.rows.table.name, int(parts.clock.wall_s() * 1000)
        accept = settings.accept_gaps
        marker = parts.rows.claim(
            lambda head: claim_rows(head, name, parts.definition, state, floor, accept, now_ms)
        )
        dead = parts.dead.claim(lambda head: claim_dead(head, parts.dead.table.name, marker))
        duplicates = DuplicateFilter(parts.definition)
        seeded = seed(duplicates, parts.definition, parts.rows.table, marker)
        self._guard = TopicGuard(
            parts.look, parts.log.topic, state.topic_id, parts.stop, parts.backoff(), parts.health
        )
        self._overload = Overload(
            name,
            settings,
            parts.pins,
            parts.clock,
            parts.health,
            marker.level,
            parts.on_level,
            self._metrics,
        )
        upkeep = Upkeep(
            settings.expire_every_commits, settings.keep_snapshots, self._overload.may_run
        )
        self._flusher = Flusher(parts.rows, parts.dead, self._guard.check, parts.clock, upkeep)
        period_s, now_s = settings.topic_check_s, parts.clock.monotonic_s()
        self._table_watch = TableWatch(parts.rows.check, parts.committer, period_s)
        self._topic_watch = TopicWatch(parts.look, parts.watcher, period_s, now_s)
        admission = Admission(parts.definition, duplicates, marker, dead)
        admission.wait(self._overload.waiting)
        starts = self._intake.begin(marker, admission)
        self._monitor.started(marker.epoch, starts, seeded)

    def step(self) -> None:
        """One turn: what has finished, what has come, what is due."""
        self._reap()
        problems = self._intake.read(self._held)
        now_s = self._parts.clock.monotonic_s()
        for problem in problems:
            self._take_problem(problem, now_s)
        self._watch_topic(now_s)
        self._weigh(now_s)
        self._flush_if_due(now_s)
        self._table_watch.step(now_s, busy=self._flushing is not None)
        self._control_flow()
        self._monitor.show(self._intake, self._held, self._overload.level, now_s)

    def finish(self) -> None:
        """Commit everything that was read, within the time that `stop` leaves."""
        self._intake.take()
        self._await_flush()
        if self._intake.buffer.dirty:
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
        buffer, settings = self._intake.buffer, self._settings
        if self._flushing is not None or not buffer.dirty:
            return
        full = buffer.rows >= self._overload.flush_rows or 2 * buffer.size_bytes >= (
            settings.buffer_bytes_max
        )
        if full or self._intake.paused or buffer.age_s(now_s) >= settings.flush_interval_s:
            self._start_flush()

    def _start_flush(self) -> None:
        buffer, admission = self._intake.buffer, self._intake.admission
        self._held = (buffer.rows, buffer.size_bytes)
        flush = Flush(
            buffer.drain(),
            admission.next_offsets(),
            admission.remembered(),
            self._overload.level,
        )
        self._intake.signals.flush_begins(self._parts.clock.monotonic_s())
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
        self._intake.signals.flush_ended(self._parts.clock.monotonic_s())
        self._parts.log.hint({p: min(by_lane) for p, by_lane in report.marker.next.items()})
        self._monitor.committed(report)

    # -- the load

    def _weigh(self, now_s: float) -> None:
        """Let the breaker decide; what then waits does so from here on."""
        admission = self._intake.admission
        if self._overload.step(now_s, self._readings, admission.behind_messages):
            self._intake.take()
            admission.wait(self._overload.waiting)
            self._intake.buffer.touch(now_s)  # the level is part of the marker

    def _readings(self) -> Readings:
        parts, buffer = self._parts, self._intake.buffer
        return self._intake.signals.readings(
            buffer.positions,
            parts.log.ends(list(buffer.positions)),
            self._held[1] + buffer.size_bytes,
            parts.rss_bytes(),
            max(parts.rows.failures, parts.dead.failures),
            parts.clock.monotonic_s(),
            parts.clock.wall_s(),
        )

    def _control_flow(self) -> None:
        turn = self._intake.control_flow(self._held, crowded=self._overload.crowded)
        if turn is Turn.PAUSE:
            self._monitor.paused()
        elif turn is Turn.RESUME:
            self._monitor.resumed()

    # -- the topic

    def _take_problem(self, problem: LogProblem, now_s: float) -> None:
        if problem.trouble is not Trouble.TRANSIENT:
            self._topic_watch.hurry(now_s)
        self._monitor.say(problem.text, now_s)

    def _watch_topic(self, now_s: float) -> None:
        """Have the topic looked at when it is due, and act on what was seen."""
        looked = self._topic_watch.step(now_s)
        if looked is None:
            return
        try:
            state = looked.result()
            self._guard.require(state.topic_id)
            self._intake.take_new_partitions(state.partitions)
            self._intake.resolve_suspects()
            self._monitor.broker_answers()
        except UnavailableError as error:
            self._monitor.broker_away(error, now_s)
