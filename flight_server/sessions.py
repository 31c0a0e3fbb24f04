"""The sessions in which a client has set something; all others have the defaults.

Most clients never set an option, and many return no cookie: nothing is kept for them, so that
they cannot push out the sessions of those that do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import LimitError, RequestError
from flight_server.options import DEFAULTS, OptionValue, SessionOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.clock import Clock


@dataclass(frozen=True)
class SessionRef:
    """What a client says of its session. `set_something`: its options were changed before."""

    session_id: str
    set_something: bool = False


@dataclass
class _Entry:
    options: SessionOptions
    expires_s: float


class Sessions:
    """(Principal, session id) -> options, at most `entries_max`, each until unused for `ttl_s`.

    Over the bound, the session that was unused for longest is dropped. Thread-safe.
    """

    def __init__(self, *, entries_max: int, ttl_s: float, bytes_max: int, clock: Clock) -> None:
        """`bytes_max`: of the names and values of one session's options."""
        self._entries_max = entries_max
        self._ttl_s = ttl_s
        self._bytes_max = bytes_max
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def options(self, principal: str, session: SessionRef) -> SessionOptions:
        """The options of a session, which starts its time anew.

        RequestError for one that had options and has none any more: a statement must not run
        with the defaults in silence.
        """
        with self._lock:
            entry = self._live(principal, session)
            if entry is not None:
                return entry.options
        if session.set_something:
            raise RequestError(
                f"this session has expired (it lives {self._ttl_s:g} s unused, and ends with the "
                "server), and its options with it: set them again, or connect again"
            )
        return DEFAULTS

    def change(
        self, principal: str, session: SessionRef, changes: Mapping[str, OptionValue | None]
    ) -> Mapping[str, RequestError | None]:
        """Apply what can be; see `SessionOptions.changed`. LimitError if they are too large."""
        with self._lock:
            entry = self._live(principal, session)
            options, refused = (entry.options if entry else DEFAULTS).changed(changes)
            size = sum(len(name) + _size(value) for name, value in options.given.items())
            if size > self._bytes_max:
                raise LimitError(
                    f"the options have {size} bytes; the most of a session is {self._bytes_max}"
                )
            expires_s = self._clock.monotonic_s() + self._ttl_s
            self._entries[principal, session.session_id] = _Entry(options, expires_s)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
        return refused

    def close(self, principal: str, session: SessionRef) -> None:
        """Forget a session; fine if there is none."""
        with self._lock:
            self._entries.pop((principal, session.session_id), None)

    def purge(self) -> None:
        """Drop what has expired; for a timer."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            for key in [k for k, e in self._entries.items() if e.expires_s <= now_s]:
                del self._entries[key]

    def _live(self, principal: str, session: SessionRef) -> _Entry | None:
        key = principal, session.session_id
        entry = self._entries.get(key)
        now_s = self._clock.monotonic_s()
        if entry is None or entry.expires_s <= now_s:
            return None
        self._entries.move_to_end(key)
        entry.expires_s = now_s + self._ttl_s
        return entry


def _size(value: OptionValue) -> int:
    if isinstance(value, tuple):
        return sum(len(text) + 1 for text in value)
    return len(value) if isinstance(value, str) else 8
