"""The breaker at work in one pipeline: when it decides, what then waits, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from contract.health import Code
from contract.levels import Level, deferred_lanes
from contract.logs import event
from ingest.breaker import Breaker, Decision, Pin, Readings, Signal
from ingest.patience import Patience

if TYPE_CHECKING:
    from contract.clock import Clock
    from contract.health import Health
    from contract.marker import NextByLane
    from ingest.config import IngestSettings
    from ingest.metrics import TableMetrics

_LOG = logging.getLogger(__name__)
CHECK_S = 0.5
_LARGER = 2  # times the rows of a flush, from LIGHT up

PinSource = Callable[[], "Pin | None"]


def no_pin() -> Pin | None:
    """Nobody pins a level."""
    return None


class Overload:
    """`step` is called in each turn of the pipeline; `may_run` from any thread."""

    def __init__(
        self,
        table: str,
        settings: IngestSettings,
        pins: PinSource,
        clock: Clock,
        health: Health,
        level: Level,
        on_level: Callable[[Level], None],
        metrics: TableMetrics,
    ) -> None:
        """`level`: what the table's marker says, so a restart under load forgets nothing."""
        self._on_level = on_level
        self._table = table
        self._pins = pins
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._due_s = now_s = clock.monotonic_s()
        thresholds = settings.breaker_thresholds() if settings.breaker else {}
        self._breaker = Breaker(thresholds, settings.breaker_dwell(), now_s, level)
        self._patience = Patience(settings.breaker_wait_max_s, now_s)
        self.waiting = deferred_lanes(level)  # the lanes that wait now
        self._rss_share = 0.0
        self._flush_rows = settings.flush_rows
        self._larger_rows = max(
            settings.flush_rows, min(_LARGER * settings.flush_rows, settings.buffer_rows_max // 2)
        )
        on_level(level)
        if level is not Level.NORMAL:
            self._tell(f"the table was left at level {level.name}")

    @property
    def level(self) -> Level:
        """The level now."""
        return self._breaker.level

    @property
    def crowded(self) -> bool:
        """Whether the process is at its cap of memory, and nothing but fetching can give way."""
        return self.level is Level.CRITICAL and self._rss_share >= 1.0

    @property
    def flush_rows(self) -> int:
        """Rows that are committed at once: more under load, so there are fewer commits."""
        return self._flush_rows if self.level is Level.NORMAL else self._larger_rows

    def may_run(self) -> bool:
        """Whether maintenance may begin something now."""
        return self._breaker.level is Level.NORMAL

    def step(
        self, now_s: float, readings: Callable[[], Readings], behind: Callable[[], NextByLane]
    ) -> bool:
        """Decide, if it is time; whether the level or what waits has changed.

        `behind`: messages between each lane and the live reader.
        """
        if now_s < self._due_s:
            return False
        self._due_s = now_s + CHECK_S
        found = readings()
        self._rss_share = found.get(Signal.RSS_SHARE, 0.0)
        decision = self._breaker.update(found, self._pins(), now_s, self._clock.wall_s())
        self._metrics.weighed(found, self.level)
        for lane in sorted(self._patience.update(behind(), now_s)):
            event(
                _LOG, logging.WARNING, "lane_due",
                table=self._table, lane=lane.name, behind_s=self._patience.behind_s(lane, now_s),
                reason="it has waited for as long as it may, and is read again at any level",
            )  # fmt: skip
        before, self.waiting = self.waiting, deferred_lanes(self.level) - self._patience.due
        self._metrics.patience(self._patience, now_s)
        if decision is not None:
            self._say(decision)
        return decision is not None or self.waiting != before

    def _say(self, decision: Decision) -> None:
        self._metrics.decided(decision)
        event(
            _LOG, logging.WARNING, "level",
            table=self._table, before=decision.before.name, after=decision.after.name,
            signal=decision.signal.value, value=decision.value, limit=decision.limit,
            reason=decision.reason,
        )  # fmt: skip
        self._on_level(decision.after)
        self._tell(decision.words())

    def _tell(self, why: str) -> None:
        if self.level is Level.NORMAL:
            self._health.clear(Code.OVERLOADED)
            return
        lanes = " and ".join(lane.name for lane in sorted(self.waiting))
        what = f"rows of {lanes} wait in the log and in the tail" if lanes else "maintenance waits"
        self._health.set(
            Code.OVERLOADED, f"level {self.level.name}, {why}: {what}; no answer changes"
        )
