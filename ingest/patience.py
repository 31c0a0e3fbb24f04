"""How long a lane may wait: a wait without an end would be a loss, once retention comes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.table import LANES, Lane

if TYPE_CHECKING:
    from contract.marker import NextByLane


class Patience:
    """A lane that has been behind for `max_s` is due: it may not wait until it has caught up."""

    def __init__(self, max_s: float, now_s: float) -> None:
        self._max_s = max_s
        self._level_s = [now_s] * len(LANES)  # when each lane was with the live reader last
        self.due: frozenset[Lane] = frozenset()

    def update(self, behind_messages: NextByLane, now_s: float) -> frozenset[Lane]:
        """Which lanes have become due now. `behind_messages`: of each lane."""
        for lane in LANES:
            if not behind_messages[lane]:
                self._level_s[lane] = now_s
        before = self.due
        self.due = frozenset(lane for lane in LANES if self.behind_s(lane, now_s) >= self._max_s)
        return self.due - before

    def behind_s(self, lane: Lane, now_s: float) -> float:
        """For how long it has been behind; 0 if it is not."""
        return max(0.0, now_s - self._level_s[lane])
