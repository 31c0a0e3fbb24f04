"""The memory of all statements, in shares: each running statement has one to itself.

A share is a memory pool of its own: a statement spills, or is refused, at the end of its share, and
cannot take what another one counts on. All shares together are never more than the limit. The
largest free one is given first, so that a statement that runs alone gets most.

The engine cannot be interrupted everywhere (docs/limits.md). A statement that was stopped keeps its
share until the engine has really let it go, and statements that compare every row of one table with
every row of another one, which it cannot interrupt at all, are only so many at once.
"""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING

from contract.errors import UnavailableError
from flight_server.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from datafusion import SessionContext

    from contract.clock import Clock
    from flight_server.ports import Watch

    # A context whose statements have so many bytes of memory, for batches of so many rows.
    MakeContexts = Callable[[int], Callable[[int], SessionContext]]

PAIRWISE_MAX = 2
_POLL_S = 0.05
_STILL_S = 0.5  # without progress for so long, a stopped statement has left the engine
_LOOK_S = 0.05


def share_sizes(limit_bytes: int, count: int) -> list[int]:
    """The shares, largest first.

    Half of the limit is divided evenly. Of the other half the first gets half, the next half of
    what is left, and so on.
    """
    even = limit_bytes // 2 // count
    return [even + (limit_bytes // 2 >> number + 1) for number in range(count)]


class Share:
    """One share, while a statement has it; `context(batch_rows)` is where it can run."""

    def __init__(self, number: int, size_bytes: int, make: Callable[[int], SessionContext]) -> None:
        self.number = number
        self.size_bytes = size_bytes
        self.is_pairwise = False
        self._make = make
        self._contexts: dict[int, SessionContext] = {}

    def context(self, batch_rows: int) -> SessionContext:
        """A context for batches of so many rows; all of a share have the same memory."""
        context = self._contexts.get(batch_rows)
        if context is None:
            context = self._contexts[batch_rows] = self._make(batch_rows)
        return context


class Shares:
    """Gives shares out and takes them back; thread-safe."""

    def __init__(
        self,
        limit_bytes: int,
        count: int,
        make: MakeContexts,
        clock: Clock,
        wait_s: float = 5.0,
    ) -> None:
        """`make(size_bytes)` makes contexts that share so much memory. `wait_s`: for a share."""
        self._make = make
        self._sizes = share_sizes(limit_bytes, count)
        self._clock = clock
        self.wait_s = wait_s
        self.workers = Workers("runner", count)
        self._made: dict[int, Share] = {}
        self._free = list(range(count))
        self._pairwise = 0
        self._changed = threading.Condition()
        self._lingering: list[_Lingering] = []

    def take_now(self, *, is_pairwise: bool) -> Share | None:
        """The largest free share, if there is one."""
        with self._changed:
            return self._taken(is_pairwise=is_pairwise)

    def take(self, watch: Watch, *, is_pairwise: bool) -> Share:
        """The largest free share.

        UnavailableError if none becomes free in time; what `watch.check` raises ends the wait.
        """
        deadline_s = self._clock.monotonic_s() + self.wait_s
        with self._changed:
            while (share := self._taken(is_pairwise=is_pairwise)) is None:
                if self._clock.monotonic_s() >= deadline_s:
                    raise UnavailableError(self._refusal())
                self._changed.wait(_POLL_S)
                watch.check()
            return share

    def give_back(self, share: Share, progress: Callable[[], int] | None = None) -> None:
        """`share` is free again; with `progress`, as soon as that does not grow any more."""
        with self._changed:
            if progress is None:
                self._release(share)
                return
            now_s = self._clock.monotonic_s()
            self._lingering.append(_Lingering(share, progress, now_s))
            if len(self._lingering) == 1:
                threading.Thread(target=self._look, name="lingering", daemon=True).start()

    def lingering(self) -> int:
        """How many statements were stopped that the engine has not let go."""
        with self._changed:
            return len(self._lingering)

    def _taken(self, *, is_pairwise: bool) -> Share | None:
        if not self._free or (is_pairwise and self._pairwise >= PAIRWISE_MAX):
            return None
        number = heapq.heappop(self._free)
        share = self._made.get(number)
        if share is None:
            size = self._sizes[number]
            share = self._made[number] = Share(number, size, self._make(size))
        share.is_pairwise = is_pairwise
        self._pairwise += is_pairwise
        return share

    def _refusal(self) -> str:
        if self._lingering:
            return (
                f"the engine is still busy with {len(self._lingering)} statements that it could "
                "not stop at once: try again in a moment"
            )
        if self._free:
            return (
                f"{PAIRWISE_MAX} statements that compare all rows of two tables are running, "
                "which is the most: try again in a moment, or join by an equality"
            )
        return "all memory of the server is in use: try again in a moment"

    def _release(self, share: Share) -> None:
        heapq.heappush(self._free, share.number)
        self._pairwise -= share.is_pairwise
        self._changed.notify_all()

    def _look(self) -> None:
        while True:
            self._clock.sleep(_LOOK_S)
            with self._changed:
                now_s = self._clock.monotonic_s()
                for one in [one for one in self._lingering if not one.works(now_s)]:
                    self._lingering.remove(one)
                    self._release(one.share)
                if not self._lingering:
                    return


class _Lingering:
    """A share whose statement was stopped while the engine was at work on it."""

    def __init__(self, share: Share, progress: Callable[[], int], now_s: float) -> None:
        self.share = share
        self._progress = progress
        self._last = progress()
        self._changed_s = now_s

    def works(self, now_s: float) -> bool:
        progress = self._progress()
        if progress != self._last:
            self._last, self._changed_s = progress, now_s
        return now_s - self._changed_s < _STILL_S
