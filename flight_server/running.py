"""Which statements run, which did, and how one is ended from outside.

`Queries` is what `system.queries` shows. Each execution is a `Running` in it, which is also what
the engine asks whether its rows are still wanted.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from contract.errors import CancelledError, HighwaterError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.clock import Clock
    from flight_server.security.identity import Identity
    from flight_server.slots import Slot

REMEMBERED = 1000  # ended executions
_SQL_CHARACTERS = 4_096  # of each statement that is remembered
_ERROR_CHARACTERS = 500
_ASK_S = 0.04

QUEUED, RUNNING = "queued", "running"
FINISHED, FAILED, CANCELLED = "finished", "failed", "cancelled"


def _nothing() -> None:
    pass


class Running:
    """One execution of a statement; `flight_server.ports.Watch`.

    One thread runs it, and alone calls `check`; any thread may `end` it.
    """

    def __init__(
        self,
        query_id: int,
        sql: str,
        principal: str,
        is_cancelled: Callable[[], bool],
        cancelled: threading.Event,
        clock: Clock,
        limit_s: float,
    ) -> None:
        """`is_cancelled`: whether the caller went away; it is valid only while the call lasts.

        `cancelled`: whether the statement may not be run any more.
        """
        self.query_id = query_id
        self.sql = sql[:_SQL_CHARACTERS]
        self.principal = principal
        self.state = QUEUED
        self.error: str | None = None
        self.queued_wall_s = clock.wall_s()
        self.started_wall_s: float | None = None
        self.ended_wall_s: float | None = None
        self.rows = self.bytes = 0
        self.peak_memory_bytes = self.spilled_bytes = 0
        self.cancelled = cancelled
        self._is_cancelled: Callable[[], bool] | None = is_cancelled
        self._clock = clock
        self._limit_s = limit_s
        self._asked_s = clock.monotonic_s()
        self._deadline_s = self._asked_s + limit_s
        self._reason: HighwaterError | None = None
        self._stop: Callable[[], None] = _nothing
        self._slot: Slot | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """See `Watch`."""
        now_s = self._clock.monotonic_s()
        if self._reason is None and (self.cancelled.is_set() or self._is_gone(now_s)):
            self._reason = CancelledError("the statement was cancelled")
        self.expire()
        if self._reason is not None:
            raise type(self._reason)(str(self._reason))  # a raised one would grow a traceback

    def _is_gone(self, now_s: float) -> bool:
        """Whether the caller went away; it is not asked often, for the transport is slow at it."""
        if self._is_cancelled is None or now_s - self._asked_s < _ASK_S:
            return False
        self._asked_s = now_s
        return self._is_cancelled()

    def attach(self, stop: Callable[[], None]) -> None:
        """See `Watch`."""
        with self._lock:
            self._stop = stop
            is_ended = self._reason is not None
        if is_ended:
            stop()

    def note_memory(self, peak_bytes: int, spilled_bytes: int) -> None:
        """See `Watch`."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_bytes)
        self.spilled_bytes = max(self.spilled_bytes, spilled_bytes)

    def start(self, slot: Slot) -> None:
        """It has a slot, and runs from now on."""
        self._slot = slot
        self.state = RUNNING
        self.started_wall_s = self._clock.wall_s()

    def sent(self, rows: int, size_bytes: int) -> None:
        """So much more was handed to the caller."""
        self.rows += rows
        self.bytes += size_bytes

    def end(self, reason: HighwaterError) -> None:
        """End it: the engine stops, its slot is free, and `check` raises this from now on."""
        with self._lock:
            if self._reason is not None or self.ended_wall_s is not None:
                return
            self._reason = reason
            stop = self._stop
        stop()
        if self._slot is not None:
            self._slot.release()

    def expire(self) -> None:
        """End it if it ran for too long; also one whose caller has stopped reading."""
        if self._reason is None and self._clock.monotonic_s() >= self._deadline_s:
            self.end(
                CancelledError(
                    f"the statement ran longer than {self._limit_s:g} s, which is the most here: "
                    "ask for less, or read faster"
                )
            )

    def closed(self, error: BaseException | None) -> None:
        """Its call is over; `error`: what it ended with."""
        with self._lock:
            self._is_cancelled = None
            self._stop = _nothing
            self.ended_wall_s = self._clock.wall_s()
        if self._slot is not None:
            self._slot.release()
        self.state = _outcome(error)
        if self.state == FAILED:
            self.error = str(error)[:_ERROR_CHARACTERS]
        elif isinstance(error, CancelledError):
            self.error = str(error)


class Queries:
    """The statements that run and the last that did; thread-safe."""

    def __init__(self, clock: Clock, limit_s: float = 3600.0) -> None:
        """`limit_s`: how long a statement may take, from its fetching to its last row."""
        self._clock = clock
        self._limit_s = limit_s
        self._ids = itertools.count(1)
        self._running: dict[int, Running] = {}
        self._ended: deque[Running] = deque(maxlen=REMEMBERED)
        self._is_stopping = False
        self._lock = threading.Lock()

    def begin(
        self,
        sql: str,
        principal: str,
        is_cancelled: Callable[[], bool],
        cancelled: threading.Event,
    ) -> Running:
        """Note an execution, as of `Running`; UnavailableError while the server is stopping."""
        with self._lock:
            if self._is_stopping:
                raise _stopping()
            one = Running(
                next(self._ids),
                sql,
                principal,
                is_cancelled,
                cancelled,
                self._clock,
                self._limit_s,
            )
            self._running[one.query_id] = one
            return one

    def close(self, one: Running, error: BaseException | None) -> None:
        """An execution is over; `error`: what it ended with."""
        one.closed(error)
        with self._lock:
            del self._running[one.query_id]
            self._ended.append(one)

    def cancel(self, query_id: int, identity: Identity) -> None:
        """End a running statement; NotFoundError if there is none that `identity` may end."""
        with self._lock:
            one = self._running.get(query_id)
        if one is None or not identity.may_control(one.principal):
            raise NotFoundError(
                f"no statement with id {query_id} is running: see system.queries for those that are"
            )
        one.end(CancelledError(f"the statement was cancelled by {identity.principal}"))

    def cancel_all_of(self, cancelled: threading.Event) -> None:
        """Set this event of a statement, and end what runs of it."""
        cancelled.set()
        for one in self._now():
            if one.cancelled is cancelled:
                one.end(CancelledError("the statement was cancelled"))

    def expire(self) -> None:
        """End what ran for too long; for a timer, as a caller that reads nothing is not asked."""
        for one in self._now():
            one.expire()

    def is_stopping(self) -> bool:
        """Whether nothing begins any more."""
        return self._is_stopping

    def stop(self) -> None:
        """End all, and begin nothing any more."""
        with self._lock:
            self._is_stopping = True
        for one in self._now():
            one.end(_stopping())

    def rows(self, identity: Identity) -> Iterator[tuple[Any, ...]]:
        """What `identity` may see, the newest first, as rows of `system.queries`."""
        with self._lock:
            shown = [*self._ended, *self._running.values()]
        for one in sorted(shown, key=lambda one: one.query_id, reverse=True):
            if identity.may_control(one.principal):
                yield (
                    one.query_id,
                    one.principal,
                    one.sql,
                    one.state,
                    one.error,
                    _ms(one.queued_wall_s),
                    _ms(one.started_wall_s),
                    _ms(one.ended_wall_s),
                    one.rows,
                    one.bytes,
                    one.peak_memory_bytes,
                    one.spilled_bytes,
                )

    def _now(self) -> list[Running]:
        with self._lock:
            return list(self._running.values())


def _stopping() -> UnavailableError:
    return UnavailableError("the server is stopping; try again when it is back")


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return FINISHED
    return CANCELLED if isinstance(error, (CancelledError, GeneratorExit)) else FAILED


def _ms(wall_s: float | None) -> int | None:
    return None if wall_s is None else int(wall_s * 1000)
