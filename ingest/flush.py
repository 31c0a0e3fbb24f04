"""One flush, on the committer's thread: dead letters first, then the rows with the marker.

The order is an invariant that readers rely on: every reject below the rows' next offset is in the
dead letters. The other way round, rejects may be written that the rows' marker does not cover yet;
after a crash they are met again, and skipped because the dead letters have a marker of their own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contract.errors import OperatorError, UnavailableError
from contract.health import NO_HEALTH, Code
from contract.table import LANES
from ingest.ports import NOTHING_WRITTEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contract.clock import Clock
    from contract.duplicates import RememberedByLane
    from contract.health import Health
    from contract.levels import Level
    from contract.marker import Marker, NextOffsets
    from ingest.backoff import Backoff
    from ingest.buffer import Drained
    from ingest.commit import TableWriter
    from ingest.ports import TopicLook, Written
    from ingest.stop import Stop

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flush:
    """What was drained, and where that leaves the log, per partition and lane."""

    drained: Drained
    next: NextOffsets
    remembered: Mapping[int, RememberedByLane]
    level: Level


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What one flush did."""

    marker: Marker
    rows: int
    dead_letters: int
    duplicates: int
    files: int
    size_bytes: int
    duration_s: float


class TopicGuard:
    """Says whether the topic is still the one whose messages were read.

    Asked after the messages of a flush were read and before they are committed: so no message of a
    topic that was deleted and made again can get into the table.
    """

    def __init__(
        self,
        look: TopicLook,
        topic: str,
        topic_id: str,
        stop: Stop,
        wait: Backoff,
        health: Health = NO_HEALTH,
    ) -> None:
        self._look = look
        self._topic = topic
        self.topic_id = topic_id
        self._stop = stop
        self._backoff = wait
        self._health = health

    def check(self) -> None:
        """Return when it is. Waits for the broker, unless the process is stopping.

        Raises OperatorError if it is another topic; UnavailableError if nobody can say.
        """
        self._backoff.reset()
        while True:
            try:
                self.require(self._look().topic_id)
                self._health.clear(Code.BROKER_AWAY)
                return
            except UnavailableError as error:
                self._health.set(Code.BROKER_AWAY, str(error))
                if self._stop.requested():
                    raise UnavailableError(
                        f"the broker does not say whether topic {self._topic!r} is still the same, "
                        "so the last rows were not committed; they are read again at the next start"
                    ) from error
                delay_s = self._backoff.next_s()
                _LOG.warning("topic %s: %s; next look in %.2f s", self._topic, error, delay_s)
            self._stop.wait(delay_s)

    def require(self, topic_id: str) -> None:
        """OperatorError if this id is another topic's."""
        if topic_id != self.topic_id:
            raise OperatorError(
                f"topic {self._topic!r} was deleted and made again while it was read (topic id "
                f"{self.topic_id}, now {topic_id}); what the old one held up to the last commit "
                "is in the table: ingest the new one into a new table"
            )


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How often snapshots are expired; `every_commits` 0: never. Nothing while not `may_run`."""

    every_commits: int
    keep_snapshots: int
    may_run: Callable[[], bool] = lambda: True


class Flusher:
    """Commits flushes one after another. Used by one thread at a time."""

    def __init__(
        self,
        rows: TableWriter,
        dead: TableWriter,
        check_topic: Callable[[], None],
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._rows = rows
        self._dead = dead
        self._check_topic = check_topic
        self._clock = clock
        self._upkeep = upkeep
        self._commits: dict[str, int] = {}

    def flush(self, flush: Flush) -> FlushReport:
        """Commit it; returns when it is in the table, raises as `TableWriter.commit` does."""
        start_s = self._clock.monotonic_s()
        drained = flush.drained
        self._check_topic()
        letters = self._commit_dead(flush) if drained.rejects.num_rows else NOTHING_WRITTEN
        written = self._rows.write(drained.rows) if drained.rows.num_rows else NOTHING_WRITTEN
        base = self._rows.marker
        marker = replace(
            base,
            next=flush.next,
            remembered=flush.remembered,
            rows=written.rows,
            dead_letters=drained.dead_letters,
            tombstones=drained.tombstones,
            duplicates=drained.duplicates,
            gaps=(*base.gaps, *drained.gaps),
            level=flush.level,
        )
        marker = self._rows.commit(written, marker)
        report = self._report(flush, marker, written, letters, start_s)
        self._expire(self._rows)
        return report

    def _commit_dead(self, flush: Flush) -> Written:
        written = self._dead.write(flush.drained.rejects)
        # After a crash the dead letters may be ahead of the rows, whose positions are read again.
        marker = self._dead.marker
        reached = {
            p: (max(position, marker.next_offset(p)),) * len(LANES)
            for p, position in flush.drained.positions.items()
        }
        marker = replace(
            marker,
            next={**marker.next, **reached},
            rows=written.rows,
            # Stepped over here first: rejects that a reader has shown from there are gone now.
            gaps=(*self._rows.marker.gaps, *flush.drained.gaps),
        )
        self._dead.commit(written, marker)
        self._expire(self._dead)
        return written

    def _report(
        self, flush: Flush, marker: Marker, rows: Written, dead: Written, start_s: float
    ) -> FlushReport:
        return FlushReport(
            marker=marker,
            rows=rows.rows,
            dead_letters=flush.drained.dead_letters,
            duplicates=flush.drained.duplicates,
            files=rows.files + dead.files,
            size_bytes=rows.size_bytes + dead.size_bytes,
            duration_s=self._clock.monotonic_s() - start_s,
        )

    def _expire(self, writer: TableWriter) -> None:
        name = writer.table.name
        self._commits[name] = self._commits.get(name, 0) + 1
        every = self._upkeep.every_commits
        if not every or self._commits[name] < every or not self._upkeep.may_run():
            return
        self._commits[name] = 0
        try:
            gone = writer.table.expire(self._upkeep.keep_snapshots)
        except UnavailableError as error:  # the next turn does it
            _LOG.warning("table %s: snapshots were not expired: %s", name, error)
        else:
            _LOG.debug("table %s: %d snapshots expired", name, gone)
