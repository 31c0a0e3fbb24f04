"""Virtual time: fibers that take turns, in an order that depends on nothing but their sleeps.

A fiber is a function that gives up its turn only in `sleep`. Product code is not written as
coroutines, so each fiber has a thread to keep its stack; but exactly one thread ever runs, and it
names the next one itself. Nothing is left to the operating system.
"""

from __future__ import annotations

import heapq
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_FUTURE_POLL_S = 0.01


class SimulatedCrash(BaseException):
    """The process is gone: nobody may catch this and go on."""


class Owner:
    """A simulated process: its fibers die with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False


def _gate() -> threading.Lock:
    """Closed: who acquires it waits for one release, which may come first."""
    gate = threading.Lock()
    gate.acquire()
    return gate


class _Carrier:
    """A thread that runs one fiber after another."""

    def __init__(self) -> None:
        self.gate = _gate()
        self.job: Callable[[], _Carrier | _Main] | None = None
        threading.Thread(target=self._run, name="fiber", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.gate.acquire()
            job, self.job = self.job, None
            assert job is not None
            job().gate.release()


_IDLE: list[_Carrier] = []  # threads outlive a simulation: making one costs more than a step


class _Fiber:
    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.carrier: _Carrier | _Main = _IDLE.pop() if _IDLE else _Carrier()


class _Main:
    """The thread that called `run`."""

    def __init__(self) -> None:
        self.gate = _gate()


class Scheduler:
    """Runs fibers until `until` says so; `on_step` is called after each turn.

    What `on_step` or a fiber raises (a crash excepted) ends the run: it is raised by `run`.
    """

    def __init__(self, on_step: Callable[[], None]) -> None:
        self.now_s = 0.0
        self.turns = 0
        self._on_step = on_step
        self._heap: list[tuple[float, int, _Fiber]] = []
        self._count = 0
        self._main = _Main()
        self._current: _Fiber | None = None
        self._deadline_s = 0.0
        self._until: Callable[[], bool] = lambda: False
        self._failure: BaseException | None = None
        self._ending = False

    def spawn(self, owner: Owner, body: Callable[[], None], delay_s: float = 0.0) -> None:
        """Have `body` run as a fiber of this process."""
        fiber = _Fiber(owner)
        assert isinstance(fiber.carrier, _Carrier)
        fiber.carrier.job = lambda: self._life(fiber, body)
        self._push(fiber, self.now_s + delay_s)

    def sleep(self, duration_s: float) -> None:
        """Let the others run for so long. Raises SimulatedCrash if the process died meanwhile."""
        me = self._current
        if me is None:
            raise RuntimeError("only a fiber can sleep")
        if me.owner.dead:
            raise SimulatedCrash(me.owner.name)
        self._push(me, self.now_s + max(0.0, duration_s))
        following = self._next()
        if following is not me.carrier:
            following.gate.release()
            me.carrier.gate.acquire()
        if me.owner.dead:
            raise SimulatedCrash(me.owner.name)

    def run(self, duration_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let so much time pass, or less if `until` holds after a turn; whether it does."""
        self._deadline_s, self._until = self.now_s + duration_s, until
        self._turn_over()
        return until()

    def bury(self, owner: Owner) -> None:
        """End the fibers of a dead process as soon as they are next."""
        owner.dead = True
        self._heap = [(self.now_s if f.owner is owner else t, n, f) for t, n, f in self._heap]
        heapq.heapify(self._heap)

    def end(self) -> None:
        """End every fiber."""
        self._ending = True
        for fiber in {id(f): f for _, _, f in self._heap}.values():
            fiber.owner.dead = True
        while self._heap:
            self._turn_over()

    def _turn_over(self) -> None:
        self._current = None
        following = self._next()
        if following is not self._main:
            following.gate.release()
            self._main.gate.acquire()
        if self._failure is not None and not self._ending:
            raise self._failure

    def _life(self, fiber: _Fiber, body: Callable[[], None]) -> _Carrier | _Main:
        try:
            if not fiber.owner.dead:
                body()
        except SimulatedCrash:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._failure = self._failure or error
        assert isinstance(fiber.carrier, _Carrier)
        _IDLE.append(fiber.carrier)
        return self._next()

    def _push(self, fiber: _Fiber, due_s: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, fiber))

    def _next(self) -> _Carrier | _Main:
        """Whose turn it is; time moves to it."""
        if not self._ending and self._current is not None:
            self.turns += 1
            try:
                self._on_step()
            except Exception as error:  # noqa: BLE001 - raised by `run`
                self._failure = self._failure or error
        if not self._heap or (not self._ending and (self._failure or self._until())):
            return self._main
        due_s, _, fiber = self._heap[0]
        if due_s > self._deadline_s and not self._ending:
            self.now_s = self._deadline_s
            return self._main
        heapq.heappop(self._heap)
        self.now_s = max(self.now_s, due_s)
        self._current = fiber
        return fiber.carrier


class SimLock:
    """A lock whose waiters let time pass."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False

    def __enter__(self) -> SimLock:
        while self._held:
            self._scheduler.sleep(_FUTURE_POLL_S)
        self._held = True
        return self

    def __exit__(self, *_: object) -> None:
        self._held = False


class SimFuture(Future[T]):
    """A future whose waiters let time pass."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def result(self, timeout: float | None = None) -> T:
        """As `Future.result`."""
        while not self.done():
            self._scheduler.sleep(_FUTURE_POLL_S)
        return super().result(timeout)


class SimWorker:
    """A `Worker` of a process: a job begins `delay_s()` later, and after the one before it."""

    def __init__(self, scheduler: Scheduler, owner: Owner, delay_s: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._owner = owner
        self._delay_s = delay_s
        self._last: Future[Any] | None = None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have it run."""
        future = SimFuture[T](self._scheduler)
        before, self._last = self._last, future

        def run() -> None:
            while before is not None and not before.done():
                self._scheduler.sleep(_FUTURE_POLL_S)
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - it belongs to who waits
                future.set_exception(error)

        self._scheduler.spawn(self._owner, run, self._delay_s())
        return future


class SimClock:
    """The clock of one process: its wall time may jump."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.skew_s = 0.0

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return 1_700_000_000.0 + self._scheduler.now_s + self.skew_s

    def monotonic_s(self) -> float:
        """Seconds since the simulation began."""
        return self._scheduler.now_s

    def sleep(self, duration_s: float) -> None:
        """Let the others run for so long."""
        self._scheduler.sleep(duration_s)
