"""How far an answer is behind the log, in one word and one reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(Enum):
    """How far an answer is behind the log; none of them makes it less exact up to its cut."""

    COMPLETE = "complete"
    LAGGING = "lagging"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class FreshnessLimits:
    """Where `lagging` and `stalled` begin.

    stalled: the follower said that it can't go on (disk cap, broker gone, retention gap), or it
    has not reported for `stalled_after_s`. Otherwise lagging: more than `lag_messages` messages
    between cut and log end, or the newest message of the view is older than `lag_s` (or unknown)
    while there are any, or the log's end is not known yet. Otherwise complete. Messages that wait
    for a transaction to end count as any others.
    """

    lag_messages: int = 100_000
    lag_s: float = 5.0
    stalled_after_s: float = 10.0


class Reach(Protocol):
    """What a view knows about its distance to the log's end."""

    @property
    def ends(self) -> Mapping[int, int]:
        """The log's ends as last heard of."""
        ...

    @property
    def hi(self) -> Mapping[int, int]:
        """The tail's fetch positions."""
        ...

    @property
    def newest_us(self) -> int | None:
        """Newest timestamp that was read since the start."""
        ...

    @property
    def lag_messages(self) -> int:
        """Messages between the cut and those ends."""
        ...

    @property
    def lag_s(self) -> float:
        """Age of the newest message, while there are any."""
        ...


def judged(reach: Reach, limits: FreshnessLimits, stall: str) -> tuple[State, str]:
    """State and reason; see `FreshnessLimits`. `stall`: why the follower can't go on, or empty."""
    if stall:
        return State.STALLED, stall
    if not reach.hi.keys() <= reach.ends.keys():
        return State.LAGGING, "the log's end is not known yet"
    if (lag := reach.lag_messages) > limits.lag_messages:
        return State.LAGGING, f"{lag} messages behind the log's end"
    if lag and reach.newest_us is None:
        return State.LAGGING, f"{lag} messages are in the log, and none was read since the start"
    if (lag_s := reach.lag_s) > limits.lag_s:
        return State.LAGGING, f"the newest message is {lag_s:.1f} s old and more are in the log"
    return State.COMPLETE, ""
