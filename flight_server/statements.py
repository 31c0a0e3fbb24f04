"""Bounded, expiring stores of what a client holds an opaque handle to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from contract.errors import BugError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.ports import Plan

HANDLE_BYTES_MIN = 16  # a handle is the only key to its statement: 128 bits cannot be guessed
_T = TypeVar("_T")


@dataclass(frozen=True)
class PlannedStatement:
    """What a ticket stands for: one plan over one cut, and the flag that stops its streams."""

    sql: str
    plan: Plan
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class PreparedStatement:
    """What a prepared handle stands for; `bound` has one value for each field of `parameters`."""

    sql: str
    parameters: pa.Schema  # no fields: the statement has no placeholders
    bound: dict[str, pa.Scalar] | None = None


@dataclass
class _Entry(Generic[_T]):
    value: _T
    owner: str
    expires_s: float


class HandleStore(Generic[_T]):
    """Handle -> value, for at most `entries_max` values, each for `ttl_s`; thread-safe.

    Over the bound, the value that was unused for longest is dropped. With `renew`, each use starts
    the time anew. A handle of another owner is as unknown as one that never was.
    """

    def __init__(
        self,
        what: str,
        *,
        entries_max: int,
        ttl_s: float,
        renew: bool,
        clock: Clock,
        new_id: Callable[[], bytes],
    ) -> None:
        self._what = what
        self._entries_max = entries_max
        self._ttl_s = ttl_s
        self._renew = renew
        self._clock = clock
        self._new_id = new_id
        self._entries: OrderedDict[bytes, _Entry[_T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def put(self, value: _T, owner: str) -> bytes:
        """Keep `value`; its handle."""
        handle = self._new_id()
        now_s = self._clock.monotonic_s()
        with self._lock:
            if len(handle) < HANDLE_BYTES_MIN or handle in self._entries:
                raise BugError("the id factory gave a short or repeated id")
            self._purge(now_s)
            if len(self._entries) >= self._entries_max:
                self._entries.popitem(last=False)
            self._entries[handle] = _Entry(value, owner, now_s + self._ttl_s)
        return handle

    def get(self, handle: bytes, owner: str) -> _T:
        """The value; NotFoundError when it expired, was dropped, or never was."""
        with self._lock:
            return self._live(handle, owner).value

    def replace(self, handle: bytes, owner: str, value: _T) -> None:
        """Put `value` under an existing handle; NotFoundError as in `get`."""
        with self._lock:
            self._live(handle, owner).value = value

    def drop(self, handle: bytes, owner: str) -> _T | None:
        """Forget a handle; its value, or None when there was none: dropping twice is fine."""
        with self._lock:
            entry = self._entries.get(handle)
            if entry is None or entry.owner != owner:
                return None
            del self._entries[handle]
            return entry.value

    def purge(self) -> None:
        """Drop what has expired. `put` does so too; call it on a server that has gone idle."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._purge(now_s)

    def _live(self, handle: bytes, owner: str) -> _Entry[_T]:
        entry = self._entries.get(handle)
        now_s = self._clock.monotonic_s()
        if entry is None or entry.owner != owner or entry.expires_s <= now_s:
            raise NotFoundError(
                f"this {self._what} is unknown or has expired (it lives {self._ttl_s:g} s); "
                "send the statement again"
            )
        self._entries.move_to_end(handle)
        if self._renew:
            entry.expires_s = now_s + self._ttl_s
        return entry

    def _purge(self, now_s: float) -> None:
        expired = [handle for handle, entry in self._entries.items() if entry.expires_s <= now_s]
        for handle in expired:
            del self._entries[handle]
