"""Backpressure: at the bound fetching pauses, below half of it fetching goes on. Pure."""

from __future__ import annotations

from enum import Enum


class Turn(Enum):
    """What to do with the partitions now."""

    STAY = "stay"
    PAUSE = "pause"
    RESUME = "resume"


class FlowControl:
    """Water marks over rows and bytes that are held in memory, committing ones included."""

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self.paused = False

    def update(self, rows: int, size_bytes: int) -> Turn:
        """PAUSE or RESUME once, when a mark is crossed; STAY otherwise."""
        if not self.paused and (rows >= self._rows_max or size_bytes >= self._bytes_max):
            self.paused = True
            return Turn.PAUSE
        if self.paused and rows <= self._rows_max // 2 and size_bytes <= self._bytes_max // 2:
            self.paused = False
            return Turn.RESUME
        return Turn.STAY
