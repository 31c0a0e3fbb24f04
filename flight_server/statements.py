"""Bounded, expiring stores of what a client holds an opaque handle to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from contract.errors import BugError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.ports import Pinned, Plan

_PURGE_S = 1.0  # looking through all entries costs more than anything else in here
HANDLE_BYTES_MIN = 16  # a handle is the only key to its statement: 128 bits cannot be guessed

_T = TypeVar("_T")


@dataclass(frozen=True)
class PlannedStatement:
    """What a ticket stands for: one plan over one cut, and the flag that stops its streams."""

    sql: str
    plan: Plan
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Transaction:
    """What a transaction stands for: one cut for all its statements, for so long at most."""

    pin: Pinned
    ends_s: float  # monotonic


@dataclass(frozen=True)
class OwnCut:
    """What a statement itself says of its cut: the words of its comment, its transaction."""

    words: Mapping[str, str] = field(default_factory=dict)
    transaction_id: bytes | None = None


@dataclass(frozen=True)
class PreparedStatement:
    """What a prepared handle stands for; a row of `bound` has a value for each parameter."""

    sql: str
    parameters: pa.Schema  # no fields: the statement has no placeholders
    bound: tuple[Mapping[str, pa.Scalar], ...] = ()
    own_cut: OwnCut = OwnCut()


@dataclass
class _Entry(Generic[_T]):
    value: _T
    owner: str
    expires_s: float
    pinned_bytes: int
    served: bool = False


def _nothing(_: object) -> int:
    return 0


@dataclass(frozen=True)
class HandleBounds:
    """How much a store keeps: so many values, and so much memory that they pin.

    `served_bytes_max` is for values that did what they were made for: a client may use them again,
    but seldom does.
    """

    entries_max: int
    pinned_bytes_max: int = 1 << 28
    served_bytes_max: int = 1 << 25


class HandleStore(Generic[_T]):
    """Handle -> value, within `bounds`, each for `ttl_s`; thread-safe.

    Over a bound, the value that was unused for longest is dropped; the newest one always stays.
    With `renew`, each use starts the time anew. A handle of another owner is as unknown as one
    that never was. Of as many dropped ones as values are kept, the owner is told why they went.
    """

    def __init__(
        self,
        what: str,
        *,
        bounds: HandleBounds,
        ttl_s: float,
        renew: bool,
        clock: Clock,
        new_id: Callable[[], bytes],
        pinned_bytes: Callable[[_T], int] = _nothing,
        again: str = "send the statement again",
    ) -> None:
        """`pinned_bytes`: about how much memory a value keeps from being freed. `again`: what the
        owner of one that is gone can do.
        """
        self._what = what
        self._pinned_bytes = pinned_bytes
        self._bounds = bounds
        self._ttl_s = ttl_s
        self._renew = renew
        self._clock = clock
        self._new_id = new_id
        self._again = again
        self._entries: OrderedDict[bytes, _Entry[_T]] = OrderedDict()
        self._gone: OrderedDict[bytes, tuple[str, str]] = OrderedDict()  # owner, and what happened
        self._total_bytes = self._served_bytes = 0  # what the entries, and the served ones, pin
        self._purge_due_s = clock.monotonic_s()
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
            if now_s >= self._purge_due_s:
                self._purge(now_s)
            pinned_bytes = self._pinned_bytes(value)
            self._entries[handle] = _Entry(value, owner, now_s + self._ttl_s, pinned_bytes)
            self._total_bytes += pinned_bytes
            self._make_room()
        return handle

    def mark_served(self, handle: bytes) -> None:
        """The value did what it was made for; fine if it is gone."""
        with self._lock:
            entry = self._entries.get(handle)
            if entry is not None and not entry.served:
                entry.served = True
                self._served_bytes += entry.pinned_bytes
                self._make_room()

    def get(self, handle: bytes, owner: str) -> _T:
        """The value; NotFoundError when it expired, was dropped, or never was."""
        with self._lock:
            return self._live(handle, owner).value

    def replace(self, handle: bytes, owner: str, value: _T) -> None:
        """Put `value` under an existing handle; NotFoundError as in `get`."""
        with self._lock:
            entry = self._live(handle, owner)
            grown = self._pinned_bytes(value) - entry.pinned_bytes
            entry.value, entry.pinned_bytes = value, entry.pinned_bytes + grown
            self._total_bytes += grown
            self._served_bytes += grown if entry.served else 0

    def renew(self, handle: bytes, owner: str) -> None:
        """Start the time of a value anew; NotFoundError as in `get`."""
        with self._lock:
            self._live(handle, owner).expires_s = self._clock.monotonic_s() + self._ttl_s

    def drop(self, handle: bytes, owner: str, why: str) -> _T | None:
        """Forget a handle; its value, or None when there was none: dropping twice is fine.

        `why`: what its owner is told afterwards, as the end of "this ticket …".
        """
        with self._lock:
            entry = self._entries.get(handle)
            if entry is None or entry.owner != owner:
                return None
            return self._remove(handle, why).value

    def purge(self) -> None:
        """Drop what has expired. `put` does so too; call it on a server that has gone idle."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._purge(now_s)

    def _live(self, handle: bytes, owner: str) -> _Entry[_T]:
        entry = self._entries.get(handle)
        now_s = self._clock.monotonic_s()
        if entry is not None and entry.expires_s <= now_s:
            self._remove(handle, self._expired)
            entry = None
        if entry is None or entry.owner != owner:
            raise NotFoundError(f"this {self._what} {self._fate(handle, owner)}")
        self._entries.move_to_end(handle)
        if self._renew:
            entry.expires_s = now_s + self._ttl_s
        return entry

    @property
    def _pushed_out(self) -> str:
        return f"made room for newer ones: {self._again}"

    @property
    def _expired(self) -> str:
        return f"has expired: it lives {self._ttl_s:g} s; {self._again}"

    def _fate(self, handle: bytes, owner: str) -> str:
        former_owner, why = self._gone.get(handle, (owner, ""))
        if why and former_owner == owner:
            return why
        return f"is unknown to this server: {self._again}"

    def _make_room(self) -> None:
        bounds = self._bounds
        while len(self._entries) > bounds.entries_max:
            self._remove(next(iter(self._entries)), self._pushed_out)
        while self._served_bytes > bounds.served_bytes_max:
            self._remove(
                next(h for h, e in self._entries.items() if e.served and e.pinned_bytes),
                self._pushed_out,
            )
        newest_bytes = next((e.pinned_bytes for e in reversed(self._entries.values())), 0)
        while self._total_bytes - newest_bytes > bounds.pinned_bytes_max:
            self._remove(
                next(h for h, e in self._entries.items() if e.pinned_bytes), self._pushed_out
            )

    def _remove(self, handle: bytes, why: str) -> _Entry[_T]:
        entry = self._entries.pop(handle)
        self._gone[handle] = entry.owner, why
        if len(self._gone) > self._bounds.entries_max:
            self._gone.popitem(last=False)
        self._total_bytes -= entry.pinned_bytes
        self._served_bytes -= entry.pinned_bytes if entry.served else 0
        return entry

    def _purge(self, now_s: float) -> None:
        self._purge_due_s = now_s + _PURGE_S
        expired = [handle for handle, entry in self._entries.items() if entry.expires_s <= now_s]
        for handle in expired:
            self._remove(handle, self._expired)
