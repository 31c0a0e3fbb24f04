"""Waiting between attempts: doubling, capped, with jitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class Backoff:
    """Delays of one series of attempts; `reset` after a success."""

    def __init__(self, random: Random, first_s: float, max_s: float) -> None:
        self._random = random
        self._first_s = first_s
        self._max_s = max_s
        self._step_s = first_s

    def reset(self) -> None:
        """Start again at the first delay."""
        self._step_s = self._first_s

    def next_s(self) -> float:
        """Seconds to wait now: between half of the step and all of it."""
        step_s = self._step_s
        self._step_s = min(self._max_s, step_s * 2)
        return step_s * self._random.uniform(0.5, 1.0)
