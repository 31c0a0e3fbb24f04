"""Threads that stay: the engine's work is done on them, not on the threads that calls come on.

The transport answers each call on a new thread. The engine's allocator sets up a heap for every
thread that it meets, which costs a small statement more than all of its work.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Job(Generic[_T]):
    """One piece of work that a worker does or will do."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._done = threading.Lock()
        self._done.acquire()
        self._result: list[_T] = []
        self._error: BaseException | None = None

    def result(self) -> _T:
        """Wait for its end, once: what it returned, or raise what it raised."""
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def do(self) -> None:
        """Do it; for the worker."""
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        finally:
            self._done.release()


class Workers:
    """At most `threads_max` threads, made when all others are busy; further work waits its turn.

    They are daemons: an engine call that never ends must not keep the process.
    """

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._jobs: SimpleQueue[Job[Any]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.threads = 0

    def run(self, work: Callable[[], _T]) -> _T:
        """Have it done and wait: what it returned, or raise what it raised.

        `work` must not call this itself: all workers could be waiting for one another.
        """
        return self.start(work).result()

    def start(self, work: Callable[[], _T]) -> Job[_T]:
        """Have it done; somebody must take the result."""
        job = Job(work)
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False):
            self._hire()
        return job

    def _hire(self) -> None:
        with self._lock:
            if self.threads == self._threads_max:
                return
            self.threads += 1
            name = f"{self._name}-{self.threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._jobs.get().do()
            self._idle.release()
