"""The loop of every feed: a steady rate, bounds, a progress line, a clean end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ingest.feeds.message import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from contract.clock import Clock
    from ingest.feeds.message import Feed, Message

_TICK_S = 0.002
_BATCH_MAX = 2_000
_BEHIND_MAX_S = 0.5  # what a slow broker costs is dropped from the schedule beyond this, not burst


class Sender(Protocol):
    """Where messages go; see KafkaSender."""

    sent: int
    failed: int
    last_error: str

    def send(self, messages: Sequence[Message], stopping: Callable[[], bool]) -> int:
        """Hand over messages; the count handed over."""
        ...

    def queued(self) -> int:
        """Messages not acknowledged yet."""
        ...


@dataclass(frozen=True)
class Limits:
    """When a feed ends and how fast it goes; 0 is no limit."""

    rate: float = 0.0
    count: int = 0
    seconds: float = 0.0


class Schedule:
    """How many messages are due. Pure: takes the time."""

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._from_s = now_s
        self._taken = 0.0

    def due(self, now_s: float) -> int:
        """Messages to send at once, at most a batch."""
        if self._rate <= 0:
            return _BATCH_MAX
        late_s = now_s - self._from_s - self._taken / self._rate
        late_max_s = _BEHIND_MAX_S + 1 / self._rate  # a slow rate is not behind before its message
        if late_s > late_max_s:
            self._from_s += late_s - late_max_s
            late_s = late_max_s
        return min(_BATCH_MAX, int(late_s * self._rate + 1e-6))

    def took(self, count: int) -> None:
        """That many were sent."""
        self._taken += count


class Runner:
    """Moves messages from a feed to a sender until a limit, the feed's end, or a stop."""

    def __init__(
        self,
        feed: Feed,
        sender: Sender,
        clock: Clock,
        stopping: Callable[[], bool],
        report: Callable[[str], None],
        progress_s: float = 5.0,
    ) -> None:
        self._feed = feed
        self._sender = sender
        self._clock = clock
        self._stopping = stopping
        self._report = report
        self._progress_s = progress_s
        self._reported_s = clock.monotonic_s()
        self._reported_sent = 0

    def run(self, limits: Limits) -> None:
        """Run to the end; what was sent and what failed stands in the sender."""
        started_s = self._clock.monotonic_s()
        schedule = Schedule(limits.rate, started_s)
        while not self._stopping():
            now_s = self._clock.monotonic_s()
            if limits.seconds and now_s - started_s >= limits.seconds:
                return
            self._progress(now_s)
            wanted = schedule.due(now_s)
            if limits.count:
                wanted = min(wanted, limits.count - self._sender.sent)
                if self._sender.sent >= limits.count:
                    return
            if not wanted:
                self._clock.sleep(_TICK_S)
                continue
            messages = self._feed.take(wanted, int(self._clock.wall_s() * SECOND_US))
            if messages is None:
                return
            schedule.took(self._sender.send(messages, self._stopping))

    def _progress(self, now_s: float) -> None:
        passed_s = now_s - self._reported_s
        if passed_s < self._progress_s:
            return
        sent = self._sender.sent
        rate = (sent - self._reported_sent) / passed_s
        self._reported_s, self._reported_sent = now_s, sent
        line = f"{sent:,} sent, {rate:,.0f}/s, {self._sender.queued():,} queued"
        failed = f", {self._sender.failed:,} failed ({self._sender.last_error})"
        self._report(line + (failed if self._sender.failed else ""))
