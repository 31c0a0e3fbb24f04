"""How much the follower takes at once, and how long it waits for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FollowerLimits:
    """Bounds of one step, and when what goes wrong is called by its name."""

    poll_messages: int = 10_000
    poll_s: float = 0.003
    quiet_poll_s: float = 0.010  # while polls bring fewer messages than the next number
    busy_messages: int = 64
    open_bytes: int = 128 * 1024 * 1024  # message bytes in anonymous memory; above it we wait
    retry_s: float = 1.0  # between two attempts to start, or to look at a position out of range
    stalled_after_s: float = 10.0  # of trouble with the broker

    def wait_s(self, came: int) -> float:
        """How long the next poll may gather, after one that brought `came` messages.

        A poll costs about a millisecond however little it brings. With many messages the next
        ones wait for it anyway, so it should be soon; with few it would be most of the work.
        """
        return self.poll_s if came >= self.busy_messages else max(self.poll_s, self.quiet_poll_s)
