"""What one pipeline tells people: log lines that do not repeat, conditions and figures."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contract.health import Code
from contract.logs import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contract.clock import Clock
    from contract.errors import UnavailableError
    from contract.health import Figure, Health
    from contract.levels import Level
    from ingest.flush import FlushReport
    from ingest.intake import Intake
    from ingest.metrics import TableMetrics
    from ingest.ports import IngestLog

_LOG = logging.getLogger(__name__)
_SAY_AGAIN_S = 10.0
_SHOW_AGAIN_S = 1.0


class Monitor:
    """Speaks for one pipeline; used by its thread alone. `table`: with its namespace."""

    def __init__(
        self,
        table: str,
        log: IngestLog,
        health: Health,
        clock: Clock,
        metrics: TableMetrics,
        figures: Callable[[], Mapping[str, Figure]] = dict,
    ) -> None:
        """`figures`: further ones to show."""
        self._metrics = metrics
        self._table = table
        self._log = log
        self._health = health
        self._clock = clock
        self._figures = figures
        self._said_s: dict[str, float] = {}
        self._shown_s = float("-inf")
        self._committed: Mapping[int, int] = {}
        self._committed_at: str | None = None

    def cannot_start(self, error: UnavailableError, delay_s: float) -> None:
        """An attempt to begin failed."""
        _LOG.warning("cannot start yet: %s; next attempt in %.2f s", error, delay_s)
        self._health.set(Code.STARTING, str(error))

    def started(self, epoch: int, starts: Mapping[int, int], seeded: int) -> None:
        """The table was claimed, and the log is read from `starts`."""
        self._committed = dict(starts)
        self._health.clear(Code.STARTING, Code.BROKER_AWAY)
        _LOG.info(
            "table %s: epoch %d, %d partitions of topic %s from offset %d in all, %d rows seeded",
            self._table, epoch, len(starts), self._log.topic, sum(starts.values()), seeded,
        )  # fmt: skip

    def committed(self, report: FlushReport) -> None:
        """A flush is in the table."""
        self._committed = {p: max(by_lane) for p, by_lane in report.marker.next.items()}
        self._metrics.committed(report, self._clock.wall_s())
        now = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        self._committed_at = now.isoformat(timespec="milliseconds")
        event(
            _LOG, logging.INFO, "committed",
            table=self._table, rows=report.rows, dead_letters=report.dead_letters,
            duplicates=report.duplicates, files=report.files, bytes=report.size_bytes,
            duration_ms=round(report.duration_s * 1000), lag=self._lag_messages(),
            breaker=report.marker.level.name,
        )  # fmt: skip

    def paused(self) -> None:
        """The buffer is full."""
        _LOG.warning("table %s: buffer is full, fetching pauses", self._table)
        self._health.set(
            Code.BUFFER_FULL,
            "the buffer is full, so fetching pauses until a commit has ended: nothing is lost",
        )

    def resumed(self) -> None:
        """There is room in it again."""
        self._health.clear(Code.BUFFER_FULL)

    def broker_away(self, error: UnavailableError, now_s: float) -> None:
        """It did not answer."""
        self._health.set(Code.BROKER_AWAY, str(error))
        self.say(str(error), now_s)

    def broker_answers(self) -> None:
        """It did."""
        self._health.clear(Code.BROKER_AWAY)

    def show(
        self,
        intake: Intake,
        held: tuple[int, int],
        level: Level,
        now_s: float,
    ) -> None:
        """The figures, now and then. `held`: rows and bytes that are being committed."""
        if now_s - self._shown_s < _SHOW_AGAIN_S:
            return
        self._shown_s = now_s
        rows, size_bytes = held[0] + intake.buffer.rows, held[1] + intake.buffer.size_bytes
        self._metrics.show(intake.admission, rows, size_bytes)
        self._health.show(
            {
                "lag_messages": self._lag_messages(),
                "last_commit_at": self._committed_at,
                "buffered_rows": rows,
                "buffered_bytes": size_bytes,
                "level": level.name,
                "behind_messages": max(intake.admission.behind_messages()),
                **self._figures(),
            }
        )

    def say(self, text: str, now_s: float) -> None:
        """Log a problem that may repeat with every poll, now and then."""
        if now_s - self._said_s.get(text, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said_s = {t: s for t, s in self._said_s.items() if now_s - s < _SAY_AGAIN_S}
            self._said_s[text] = now_s
            _LOG.warning("topic %s: %s", self._log.topic, text)

    def _lag_messages(self) -> int:
        """Messages between what is committed and the log's end, as the last fetches told it.

        Of the live reader: what a lane that waits is behind is told beside it.
        """
        ends = self._log.ends(list(self._committed))
        return sum(max(0, end - self._committed[p]) for p, end in ends.items())
