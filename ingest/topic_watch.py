"""Looks at the topic now and then, on a thread of its own, and at once when it seems to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ingest.executor import Worker
    from ingest.ports import TopicLook, TopicState


class TopicWatch:
    """`step` begins a look when one is due, and gives what the last one saw."""

    def __init__(self, look: TopicLook, worker: Worker, period_s: float, now_s: float) -> None:
        self._look = look
        self._worker = worker
        self._period_s = period_s
        self._due_s = now_s + period_s
        self._looking: Future[TopicState] | None = None

    def hurry(self, now_s: float) -> None:
        """Let the next look be due now."""
        self._due_s = now_s

    def step(self, now_s: float) -> Future[TopicState] | None:
        """A look that has ended since the last call; None: there is none."""
        if self._looking is None and now_s >= self._due_s:
            self._looking = self._worker.submit(self._look)
        if self._looking is None or not self._looking.done():
            return None
        looked, self._looking = self._looking, None
        self._due_s = now_s + self._period_s
        return looked
