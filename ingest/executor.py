"""One named worker thread that never keeps the process alive."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_JOBS_MAX = 4


class Worker(Protocol):
    """Runs jobs one after another, beside the caller."""

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have it run."""
        ...


class DaemonWorker:
    """A `Worker` on a daemon thread.

    Unlike `ThreadPoolExecutor`, a job that hangs in a call outside does not hold up the exit of a
    process whose shutdown budget is spent. At most four jobs wait; `submit` then blocks.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.Queue(_JOBS_MAX)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have it run on the thread."""
        future: Future[T] = Future()
        self._jobs.put((future, job))
        return future

    def close(self, timeout_s: float) -> None:
        """End the thread after its jobs; not waited for longer than `timeout_s`."""
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            _settle(*entry)
            del entry  # a job may hold a whole flush: not kept until the next one comes


def _settle(future: Future[Any], job: Callable[[], Any]) -> None:
    future.set_running_or_notify_cancel()
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - it belongs to who waits
        future.set_exception(error)
