"""Memory that was freed, given back to the system.

The follower allocates and frees some megabytes with every poll, on several threads. glibc keeps
what was freed in an arena of each thread, and a server that has caught up with ten million rows
would hold on to hundreds of megabytes that nobody uses.
"""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt
_ARENAS = 2


def limit_arenas() -> None:
    """Few arenas, for threads take turns anyway; call it before threads start."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what is free; takes some milliseconds."""
    pa.default_memory_pool().release_unused()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None
