"""Crashes at named places, and executors and clocks that leave nothing to chance."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from highwater.simulate.scheduler import SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass
class CrashAt:
    """A failpoint that crashes when the place `name` is reached for the `nth` time."""

    name: str | None = None
    nth: int = 1
    hits: dict[str, int] = field(default_factory=dict)

    def __call__(self, name: str) -> None:
        self.hits[name] = self.hits.get(name, 0) + 1
        if name == self.name and self.hits[name] == self.nth:
            raise SimulatedCrash(name)


@dataclass
class HandClock:
    """A clock that moves when somebody sleeps, or is told to."""

    now_s: float = 1_000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


class InlineWorker:
    """A `Worker` that runs each job at once, in the caller's thread."""

    def submit(self, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(job())
        except Exception as error:  # noqa: BLE001 - a crash is no result
            future.set_exception(error)
        return future


class _LateFuture(Future[T]):
    """Runs its job when somebody waits for the result."""

    def __init__(self, job: Callable[[], T]) -> None:
        super().__init__()
        self._job = job

    def result(self, timeout: float | None = None) -> T:
        """Run, and give what it gave."""
        if not self.done():
            self.set_result(self._job())
        return super().result(timeout)


class LateWorker:
    """A `Worker` whose jobs are not done before somebody needs them."""

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have it run."""
        return _LateFuture(job)


class HeldWorker:
    """A `Worker` that runs its jobs when `release` is called."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - a crash is no result
                future.set_exception(error)

        self._jobs.append(run)
        return future

    def release(self) -> None:
        """Run all that was submitted."""
        while self._jobs:
            self._jobs.pop(0)()
