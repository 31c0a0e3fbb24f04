"""What the breaker goes by, gathered where it happens. Pure: the time is passed in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ingest.breaker import Readings, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.config import IngestSettings

_WINDOW_S = 10.0  # of the dead letters' share
_SLOTS = 10
_ENOUGH_MESSAGES = 1_000  # in the window: of fewer, a share says nothing
_COMMIT_COUNTS_S = 30.0  # a duration of longer ago says nothing of now


class Signals:
    """Of one table; used by its pipeline's thread alone."""

    def __init__(self, settings: IngestSettings, now_s: float) -> None:
        self._bytes_max = settings.buffer_bytes_max
        self._rss_max = settings.rss_max_bytes
        self._slots: deque[tuple[float, int, int]] = deque()  # begin, messages, rejects
        self._newest_us: int | None = None
        self._at_end_s = now_s  # when nothing more was in the log, or the start
        self._flush_since_s: float | None = None
        self._last_flush: tuple[float, float] | None = None  # end, duration

    def read(self, messages: int, rejects: int, newest_us: int | None, now_s: float) -> None:
        """The live reader's next messages; `newest_us`: their newest broker timestamp."""
        if not self._slots or now_s - self._slots[-1][0] >= _WINDOW_S / _SLOTS:
            self._slots.append((now_s, 0, 0))
        begin_s, before, rejected = self._slots[-1]
        self._slots[-1] = (begin_s, before + messages, rejected + rejects)
        while now_s - self._slots[0][0] > _WINDOW_S:
            self._slots.popleft()
        if newest_us is not None:
            self._newest_us = max(newest_us, self._newest_us or newest_us)

    def flush_begins(self, now_s: float) -> None:
        """A flush was handed over."""
        self._flush_since_s = now_s

    def flush_ended(self, now_s: float) -> None:
        """It is in the table."""
        if self._flush_since_s is not None:
            self._last_flush = now_s, now_s - self._flush_since_s
        self._flush_since_s = None

    def readings(
        self,
        positions: Mapping[int, int],
        ends: Mapping[int, int],
        buffered_bytes: int,
        rss_bytes: int,
        failed_commits: int,
        now_s: float,
        wall_s: float,
    ) -> Readings:
        """All signals now. `positions` and `ends`: of the live reader and of the log."""
        lag = sum(max(0, end - positions.get(p, end)) for p, end in ends.items())
        if not lag:
            self._at_end_s = now_s
        return {
            Signal.LAG_MESSAGES: lag,
            Signal.LAG_S: self._lag_s(now_s, wall_s),
            Signal.BUFFER_SHARE: buffered_bytes / self._bytes_max,
            Signal.RSS_SHARE: rss_bytes / self._rss_max,
            Signal.COMMIT_S: self._commit_s(now_s),
            Signal.FAILED_COMMITS: failed_commits,
            Signal.DEAD_LETTER_SHARE: self._dead_letter_share(now_s),
        }

    def _lag_s(self, now_s: float, wall_s: float) -> float:
        """At most the time since the end was reached last: timestamps are the producers' word."""
        behind_s = max(0.0, now_s - self._at_end_s)
        if self._newest_us is None:
            return behind_s
        return min(behind_s, max(0.0, wall_s - self._newest_us / 1e6))

    def _commit_s(self, now_s: float) -> float:
        lasted_s = 0.0
        if self._last_flush is not None and now_s - self._last_flush[0] < _COMMIT_COUNTS_S:
            lasted_s = self._last_flush[1]
        if self._flush_since_s is not None:
            lasted_s = max(lasted_s, now_s - self._flush_since_s)
        return lasted_s

    def _dead_letter_share(self, now_s: float) -> float:
        recent = [slot for slot in self._slots if now_s - slot[0] <= _WINDOW_S]
        messages = sum(slot[1] for slot in recent)
        if messages < _ENOUGH_MESSAGES:
            return 0.0
        return sum(slot[2] for slot in recent) / messages
