"""Backpressure: at the bound fetching pauses, below half of it fetching goes on. Pure."""

from __future__ import annotations

from enum import Enum


class Turn(Enum):
    """What to do with the partitions now."""

    STAY = "stay"
    PAUSE = "pause"
    RESUME = "resume"


class FlowControl:
    """Water marks over rows and bytes that are held in memory, committing ones included.

    `crowded`: the process is at its cap of memory. Fetching then pauses until what is held is
    committed: memory that somebody else holds must not stop it for good.
    """

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self.paused = False

    def update(self, rows: int, size_bytes: int, *, crowded: bool = False) -> Turn:
        """PAUSE or RESUME once, when a mark is crossed; STAY otherwise."""
        full = rows >= self._rows_max or size_bytes >= self._bytes_max
        if not self.paused and (full or (crowded and rows > 0)):
            self.paused = True
            return Turn.PAUSE
        if self.paused and self.has_room(rows, size_bytes) and not (crowded and rows > 0):
            self.paused = False
            return Turn.RESUME
        return Turn.STAY

    def has_room(self, rows: int, size_bytes: int) -> bool:
        """Whether no more than half of what may be held is held."""
        return rows <= self._rows_max // 2 and size_bytes <= self._bytes_max // 2
