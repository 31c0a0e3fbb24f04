"""Time as a value that is passed in: the one module that reads the machine's clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the code may know about time."""

    def wall_s(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Wait for `duration_s` seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_s(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Wait for `duration_s` seconds."""
        time.sleep(duration_s)
