"""What keeps a process from working, or slows it down, as named conditions with a time.

Components say it where they notice it, through the port `Health`: `set` and `clear` of a code.
A process has one `Conditions`, which holds at most one entry per table and code, and makes of
them what `/readyz` answers. docs/operations.md says what each code means and what to do.
"""

from __future__ import annotations

import errno
import re
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.clock import Clock

FORMAT = 1
TEXT_CHARS_MAX = 500
_PATH = re.compile(r"(?:file://|(?<![\w)]))/(?:[^\s'\"/]+/)+[^\s'\",;:)]*")

Figure = int | float | str | None


class Code(Enum):
    """Names of conditions. They are part of the interface: none changes its meaning."""

    STARTING = "starting"
    STOPPING = "stopping"
    FAILED = "failed"
    BROKER_AWAY = "broker_away"
    CATALOG_AWAY = "catalog_away"
    DISK_FULL = "disk_full"
    DISK_FAILING = "disk_failing"
    OUT_OF_DESCRIPTORS = "out_of_descriptors"
    BUFFER_FULL = "buffer_full"
    OVERLOADED = "overloaded"
    NO_TABLE = "no_table"
    NO_VIEW = "no_view"
    STALLED = "stalled"
    TAIL_FULL = "tail_full"


# What a catalog or a storage that does not do its part can mean; one of them at a time.
STORAGE = frozenset({Code.CATALOG_AWAY, Code.DISK_FULL, Code.DISK_FAILING, Code.OUT_OF_DESCRIPTORS})

_BY_ERRNO = {
    errno.ENOSPC: Code.DISK_FULL,
    errno.EDQUOT: Code.DISK_FULL,
    errno.EFBIG: Code.DISK_FULL,
    errno.EIO: Code.DISK_FAILING,
    errno.EROFS: Code.DISK_FAILING,
    errno.EMFILE: Code.OUT_OF_DESCRIPTORS,
    errno.ENFILE: Code.OUT_OF_DESCRIPTORS,
}


def storage_code(error: BaseException) -> Code:
    """Which of `STORAGE` an error means, by its own number or that of what caused it."""
    causes: list[Any] = [error]
    while causes:
        cause = causes.pop()
        if isinstance(cause, OSError) and cause.errno in _BY_ERRNO:
            return _BY_ERRNO[cause.errno]
        if isinstance(cause, sqlite3.Error) and _is_full(cause):
            return Code.DISK_FULL
        causes += [c for c in (cause.__cause__, getattr(cause, "orig", None)) if c is not None]
    return Code.CATALOG_AWAY


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


class Health(Protocol):
    """Where one table's components say how they are. Any thread may call, nothing waits."""

    def set(self, code: Code, text: str) -> None:
        """It holds from now on; if it does already, only the text changes."""
        ...

    def clear(self, *codes: Code) -> None:
        """They don't hold, or no longer."""
        ...

    def show(self, figures: Mapping[str, Figure]) -> None:
        """Numbers beside the conditions; they replace the earlier ones."""
        ...


class NoHealth:
    """A `Health` that nobody asks."""

    def set(self, code: Code, text: str) -> None:
        """See `Health`."""

    def clear(self, *codes: Code) -> None:
        """See `Health`."""

    def show(self, figures: Mapping[str, Figure]) -> None:
        """See `Health`."""


NO_HEALTH = NoHealth()


def set_storage(health: Health, code: Code, text: str) -> None:
    """Set one of `STORAGE`, clear the others."""
    health.clear(*(STORAGE - {code}))
    health.set(code, text)


@dataclass(frozen=True, slots=True)
class _Held:
    text: str
    since_s: float  # of the wall clock


class Conditions:
    """All conditions of one process. `blocking`: with one of these it can't do its job."""

    def __init__(self, process: str, blocking: frozenset[Code], clock: Clock) -> None:
        self._process = process
        self._blocking = blocking
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[str, Code], _Held] = {}
        self._figures: dict[str, Mapping[str, Figure]] = {}
        self._ready = True
        self._ready_since_s = clock.wall_s()

    def of(self, table: str) -> Health:
        """The port of one table; of the process as a whole if the name is empty."""
        return _OfTable(self, table)

    def set(self, table: str, code: Code, text: str) -> None:
        """See `Health`."""
        with self._lock:
            before = self._held.get((table, code))
            since_s = before.since_s if before else self._clock.wall_s()
            self._held[table, code] = _Held(_shown(text), since_s)
            self._judge()

    def clear(self, table: str, codes: tuple[Code, ...]) -> None:
        """See `Health`."""
        with self._lock:
            for code in codes:
                self._held.pop((table, code), None)
            self._judge()

    def show(self, table: str, figures: Mapping[str, Figure]) -> None:
        """See `Health`."""
        with self._lock:
            self._figures[table] = dict(figures)

    def document(self) -> dict[str, Any]:
        """What `/readyz` answers, as JSON values; the keys are listed in docs/operations.md."""
        with self._lock:
            held, figures = dict(self._held), dict(self._figures)
            ready, since_s = self._ready, self._ready_since_s
        reasons = [
            {
                "code": code.value,
                "table": table or None,
                "text": about.text,
                "since": _iso(about.since_s),
                "blocking": code in self._blocking,
            }
            for (table, code), about in held.items()
        ]
        reasons.sort(key=lambda r: (not r["blocking"], str(r["since"]), str(r["code"])))
        return {
            "format": FORMAT,
            "process": self._process,
            "ready": ready,
            "since": _iso(since_s),
            "reasons": reasons,
            "tables": {name: dict(shown) for name, shown in sorted(figures.items())},
        }

    def _judge(self) -> None:
        ready = not any(code in self._blocking for _, code in self._held)
        if ready != self._ready:
            self._ready, self._ready_since_s = ready, self._clock.wall_s()


class _OfTable:
    def __init__(self, conditions: Conditions, table: str) -> None:
        self._conditions = conditions
        self._table = table

    def set(self, code: Code, text: str) -> None:
        self._conditions.set(self._table, code, text)

    def clear(self, *codes: Code) -> None:
        self._conditions.clear(self._table, codes)

    def show(self, figures: Mapping[str, Figure]) -> None:
        self._conditions.show(self._table, figures)


def _shown(text: str) -> str:
    """One line of bounded length, without paths of this machine."""
    line = _PATH.sub("…", " ".join(text.split()))
    return line if len(line) <= TEXT_CHARS_MAX else line[: TEXT_CHARS_MAX - 1] + "…"


def _iso(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")
