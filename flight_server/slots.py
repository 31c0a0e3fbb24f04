"""At most so many at once; those beyond wait in a bounded queue, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from contract.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.clock import Clock

_POLL_S = 0.05  # how soon a waiting caller that went away is seen


def _nothing() -> None:
    pass


class Slot:
    """One place that is taken. Releasing it again is fine, from any thread."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go: Callable[[], None] | None = let_go
        self._lock = threading.Lock()

    def release(self) -> None:
        """Give the place to the next one in the queue."""
        with self._lock:
            let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()


class Slots:
    """`slots_max` places and a queue of `waiting_max`.

    UnavailableError where that is full too, or after `wait_s` in it.
    """

    def __init__(
        self, what: str, slots_max: int, *, waiting_max: int, wait_s: float, clock: Clock
    ) -> None:
        self._what = what
        self._slots_max = slots_max
        self._waiting_max = waiting_max
        self._wait_s = wait_s
        self._clock = clock
        self._taken = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, check: Callable[[], None] = _nothing) -> Slot:
        """A place. What `check` raises, asked at least every 50 ms, ends the wait."""
        with self._changed:
            if self._taken < self._slots_max and not self._queue:
                self._taken += 1
                return Slot(self._let_go)
            if len(self._queue) >= self._waiting_max:
                raise UnavailableError(self._refusal(f"and {self._waiting_max} more are waiting"))
            return self._queued(check)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place for the length of a block."""
        slot = self.take()
        try:
            yield
        finally:
            slot.release()

    def _let_go(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _queued(self, check: Callable[[], None]) -> Slot:
        deadline_s = self._clock.monotonic_s() + self._wait_s
        me = object()
        self._queue.append(me)
        try:
            while self._queue[0] is not me or self._taken >= self._slots_max:
                left_s = deadline_s - self._clock.monotonic_s()
                if left_s <= 0:
                    raise UnavailableError(self._refusal("which is its most"))
                self._changed.wait(min(left_s, _POLL_S))
                check()
            self._taken += 1
            return Slot(self._let_go)
        finally:
            self._queue.remove(me)
            self._changed.notify_all()

    def _refusal(self, why: str) -> str:
        return (
            f"the server is {self._what} {self._slots_max} statements, {why}: "
            f"try again in {max(1, round(self._wait_s))} s"
        )
