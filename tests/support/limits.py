"""Limits and memory of another process of ours, from the outside."""

from __future__ import annotations

import contextlib
import re
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOKS, _LOOK_S = 10, 0.05
_FILES = resource.RLIMIT_NOFILE


def descriptors(pid: int) -> set[int]:
    """The numbers of its open files."""
    listed = list(Path(f"/proc/{pid}/fd").iterdir())
    return {int(path.name) for path in listed if path.is_symlink()}  # not that of the listing


@contextlib.contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """It opens nothing more: the limit is the lowest number that is free."""
    used = descriptors(pid)
    for _ in range(_LOOKS):  # what is open for a moment only does not count
        time.sleep(_LOOK_S)
        used &= descriptors(pid)
    free = next(number for number in range(len(used) + 1) if number not in used)
    soft, hard = resource.prlimit(pid, _FILES, (free, resource.prlimit(pid, _FILES)[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, _FILES, (soft, hard))


def limits(pid: int) -> tuple[int, int]:
    """How many files it may open: now, and at most."""
    return resource.prlimit(pid, _FILES)


def anonymous_bytes(pid: int) -> int:
    """Its resident memory that is no file's."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024
