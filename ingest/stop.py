"""The wish to stop, with the time that is left for it: one budget for the whole shutdown."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.clock import Clock

_SLICE_S = 0.05


class Stop:
    """Asked for once, from any thread or a signal handler; read by all."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread in it
        self._deadline_s: float | None = None  # monotonic

    def request(self) -> None:
        """Start the countdown; a second request changes nothing."""
        with self._lock:
            if self._deadline_s is None:
                self._deadline_s = self._clock.monotonic_s() + self._timeout_s

    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._deadline_s is not None

    def left_s(self) -> float:
        """Seconds until the deadline, at least 0; infinite while nobody asked."""
        if self._deadline_s is None:
            return math.inf
        return max(0.0, self._deadline_s - self._clock.monotonic_s())

    def wait(self, duration_s: float) -> bool:
        """Wait so long, or until the deadline has passed; True if there is time left."""
        until_s = self._clock.monotonic_s() + duration_s
        while (rest_s := until_s - self._clock.monotonic_s()) > 0 and self.left_s() > 0:
            self._clock.sleep(min(rest_s, _SLICE_S, self.left_s()))
        return self.left_s() > 0
