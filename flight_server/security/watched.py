"""A file whose content counts as it is now, without a restart and without reading it each time."""

from __future__ import annotations

import logging
import os
import stat
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from contract.errors import HighwaterError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract.clock import Clock

_LOOK_S = 1.0  # a user that was removed is refused within this time
BYTES_MAX = 16 << 20
_log = logging.getLogger("highwater.security")

_T = TypeVar("_T")
_Stamp = tuple[int, int, int, int]


class Watched(Generic[_T]):
    """The parsed content; `current` looks for a change once a second. Thread-safe.

    A change that cannot be read or parsed is logged once, and the last good content stays: a
    half-written file must not lock everybody out.
    """

    def __init__(
        self, flag: str, path: Path, parse: Callable[[bytes], _T], clock: Clock, *, private: bool
    ) -> None:
        """Read it. Raises OperatorError, naming `flag`, if that is not possible.

        `private`: refuse a file that others than its owner may read or write.
        """
        self._flag = flag
        self._path = path
        self._parse = parse
        self._clock = clock
        self._private = private
        self._lock = threading.Lock()
        self._stamp, self._value = self._read()
        self._look_at_s = clock.monotonic_s() + _LOOK_S

    def current(self) -> _T:
        """The content."""
        if self._clock.monotonic_s() >= self._look_at_s and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _look(self) -> None:
        self._look_at_s = self._clock.monotonic_s() + _LOOK_S
        try:
            stamp = _stamp(self._path.stat())
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._stamp, self._value = self._read()
            _log.info("%s: read anew", self._flag)
        except HighwaterError as error:
            _log.error("%s; what it held before stays in force", error)

    def _read(self) -> tuple[_Stamp | None, _T]:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                content = file.read(BYTES_MAX + 1)
        except OSError as error:
            raise OperatorError(f"{self._flag} {self._path}: {error.strerror}") from error
        if self._private and stat.S_IMODE(found.st_mode) & 0o077:
            raise OperatorError(
                f"{self._flag} {self._path}: others may read or write it; chmod 600 it"
            )
        if len(content) > BYTES_MAX:
            raise OperatorError(f"{self._flag} {self._path}: it has more than {BYTES_MAX} bytes")
        try:
            return _stamp(found), self._parse(content)
        except HighwaterError as error:
            raise OperatorError(f"{self._flag} {self._path}: {error}") from error


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
