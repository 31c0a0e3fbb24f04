"""Levels of the sidecar's breaker, and which lanes wait at each of them."""

from __future__ import annotations

from enum import IntEnum

from contract.table import Lane


class Level(IntEnum):
    """How overloaded the sidecar is. The names are stored in markers and never change."""

    NORMAL = 0
    LIGHT = 1  # maintenance stops, flushes get larger
    MODERATE = 2  # lane LOW waits
    SEVERE = 3  # lane MEDIUM waits too
    CRITICAL = 4  # the same; the next thing that gives way is fetching


_DEFERRED: dict[Level, frozenset[Lane]] = {
    Level.NORMAL: frozenset(),
    Level.LIGHT: frozenset(),
    Level.MODERATE: frozenset({Lane.LOW}),
    Level.SEVERE: frozenset({Lane.LOW, Lane.MEDIUM}),
    Level.CRITICAL: frozenset({Lane.LOW, Lane.MEDIUM}),
}


def deferred_lanes(level: Level) -> frozenset[Lane]:
    """The lanes whose watermark stops at this level. HIGH never waits."""
    return _DEFERRED[level]
