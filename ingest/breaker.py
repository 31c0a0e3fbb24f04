"""The breaker: from signals of load to one of five levels. Pure: the time is passed in.

    signals --> wanted level --> dwell --> level --> what waits (`ingest.overload`)

Each signal has a band for each level above NORMAL: it *asks* for the level from `enter` up, and
*holds* it until it is at `leave` or below. Bands of a signal don't overlap, so a signal that rests
anywhere asks for one level and holds one level.

| from | when | to |
|---|---|---|
| any | a pin is set | the pinned level, at once |
| L | a signal asks for M > L, and L has lasted `up_s` | M, the highest that is asked for |
| L | no signal has held L for `down_s`, and L has lasted `down_s` | L - 1 |

A pin ends at its time or when it is taken away; the level then goes on from where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from contract.levels import Level


class Signal(Enum):
    """What is measured. The values are labels of metrics and names of settings."""

    LAG_MESSAGES = "lag_messages"  # between what was read and the log's end
    LAG_S = "lag_s"  # age of the newest message that was read, while there are more
    BUFFER_SHARE = "buffer_share"  # bytes in memory, of their cap
    RSS_SHARE = "rss_share"  # memory of the process, of its cap
    COMMIT_S = "commit_s"  # duration of the last flush, or so far of the one under way
    FAILED_COMMITS = "failed_commits"  # attempts in a row
    DEAD_LETTER_SHARE = "dead_letter_share"  # of the last messages
    PIN = "pin"  # nothing measured: a person decided


@dataclass(frozen=True, slots=True)
class Band:
    """Where a signal asks for a level, and where it no longer holds it; `leave` < `enter`."""

    enter: float
    leave: float


Bands = tuple[Band | None, ...]  # of the levels above NORMAL in their order; None: never
Thresholds = Mapping[Signal, Bands]
Readings = Mapping[Signal, float]


@dataclass(frozen=True, slots=True)
class Dwell:
    """How long a level lasts at least, before a higher one and before the one below."""

    up_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class Pin:
    """A level that a person has set, for a reason, until a time of the wall clock."""

    level: Level
    reason: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of level. `value`: of the signal that decided; `limit`: what it has crossed.

    For a pin both are 0, and `reason` says why.
    """

    before: Level
    after: Level
    signal: Signal
    value: float
    limit: float
    at_s: float  # of the wall clock
    reason: str = ""

    def words(self) -> str:
        """For people."""
        if self.signal is Signal.PIN:
            return f"pinned: {self.reason}"
        way = "reached" if self.after > self.before else "is down to"
        return f"{self.signal.value} {way} {self.value:g} (limit {self.limit:g})"


class Breaker:
    """One table's breaker. `level`: the one that the writer before left, so none is forgotten."""

    def __init__(
        self, thresholds: Thresholds, dwell: Dwell, now_s: float, level: Level = Level.NORMAL
    ) -> None:
        self._thresholds = thresholds
        self._dwell = dwell
        self.level = level
        self.last: Decision | None = None
        self._entered_s = now_s
        self._held_s = now_s  # when the level was held last
        self._holder: Signal | None = None  # by which signal

    def update(
        self, readings: Readings, pin: Pin | None, now_s: float, wall_s: float
    ) -> Decision | None:
        """What these readings change; None: nothing. A signal without a reading says nothing.

        `now_s` never goes back.
        """
        if pin is not None and wall_s < pin.until_s:
            self._held_s = now_s
            if pin.level is self.level:
                return None
            return self._move(pin.level, Signal.PIN, 0.0, 0.0, now_s, wall_s, pin.reason)
        asked, signal = self._worst(readings)
        if signal is not None and asked > self.level:
            if now_s - self._entered_s < self._dwell.up_s:
                return None
            limit = _band(self._thresholds[signal], asked).enter
            return self._move(asked, signal, readings[signal], limit, now_s, wall_s)
        return self._down(readings, now_s, wall_s)

    def _worst(self, readings: Readings) -> tuple[Level, Signal | None]:
        """The highest level that is asked for, and the signal that is furthest beyond its limit."""
        worst: tuple[Level, float, Signal | None] = (Level.NORMAL, 0.0, None)
        for signal, bands in self._thresholds.items():
            value = readings.get(signal)
            for level, band in _by_level(bands):
                if value is not None and value >= band.enter:
                    beyond = value / band.enter if band.enter else 1.0
                    worst = max(worst, (level, beyond, signal), key=lambda w: w[:2])
        return worst[0], worst[2]

    def _down(self, readings: Readings, now_s: float, wall_s: float) -> Decision | None:
        if self.level is Level.NORMAL:
            return None
        nearest = self._nearest(readings)
        if nearest is not None and nearest[0] > 0:
            self._held_s, self._holder = now_s, nearest[1]
            return None
        if now_s - max(self._held_s, self._entered_s) < self._dwell.down_s:
            return None
        lower = Level(self.level - 1)
        if nearest is None:  # nothing speaks for this level: nobody but a pin has set it
            return self._move(lower, Signal.PIN, 0.0, 0.0, now_s, wall_s, "no signal holds it")
        _, signal, limit = self._nearest(readings, self._holder) or nearest
        return self._move(lower, signal, readings[signal], limit, now_s, wall_s)

    def _nearest(
        self, readings: Readings, only: Signal | None = None
    ) -> tuple[float, Signal, float] | None:
        """The signal that is furthest above what leaves this level: how far, and that limit.

        None: no signal (or not this one) that has a reading knows this level or a higher one.
        """
        found: tuple[float, Signal, float] | None = None
        for signal, bands in self._thresholds.items():
            value = readings.get(signal)
            limits = [band.leave for level, band in _by_level(bands) if level >= self.level]
            if value is None or not limits or only not in {None, signal}:
                continue
            above = (value - limits[0]) / max(limits[0], 1.0)  # signals have units of their own
            if found is None or above > found[0]:
                found = above, signal, limits[0]
        return found

    def _move(
        self,
        after: Level,
        signal: Signal,
        value: float,
        limit: float,
        now_s: float,
        wall_s: float,
        reason: str = "",
    ) -> Decision:
        self.last = Decision(self.level, after, signal, value, limit, wall_s, reason)
        self.level = after
        self._entered_s = self._held_s = now_s
        if after > self.last.before:
            self._holder = signal
        return self.last


def _by_level(bands: Bands) -> list[tuple[Level, Band]]:
    """The bands that there are, lowest level first."""
    return [(Level(i), band) for i, band in enumerate(bands, 1) if band is not None]


def _band(bands: Bands, level: Level) -> Band:
    band = bands[level - 1]
    assert band is not None
    return band


def problem_of(bands: Bands) -> str:
    """What is wrong with the bands of one signal; empty if nothing is."""
    below: tuple[Level, Band] | None = None
    for level, band in _by_level(bands):
        if not 0 <= band.leave < band.enter:
            return (
                f"{level.name}: {band.enter:g}:{band.leave:g} must be ENTER:LEAVE with LEAVE at "
                "least 0 and below ENTER"
            )
        if below is not None and band.enter <= below[1].enter:
            return (
                f"{level.name} is entered at {band.enter:g}, which must be above the "
                f"{below[1].enter:g} of {below[0].name}"
            )
        if below is not None and band.leave < below[1].enter:
            return (
                f"the bands of {below[0].name} and {level.name} overlap: {level.name} must be left "
                f"at {below[1].enter:g} or above, not at {band.leave:g}"
            )
        below = level, band
    return ""
