"""Memory that was freed, given back to the system.

The follower allocates and frees some megabytes with every poll, on several threads. glibc keeps
what was freed in an arena of each thread, and a server that has caught up with ten million rows
would hold on to hundreds of megabytes that nobody uses.
"""

from __future__ import annotations

import ctypes
import gc
import sys

import pyarrow as pa

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt
_ARENAS = 2
_THP_DISABLE = 41  # PR_SET_THP_DISABLE of prctl
_GC_YOUNG = 20_000


def settle_allocators() -> None:
    """Set the allocators up for many small pieces of work; call it before threads start.

    Few arenas, for threads take turns anyway. No huge pages: the allocators of Arrow and of the
    engine ask for them, and a poll that touches a fresh one waits until 2 MiB are zeroed.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_ARENA_MAX, _ARENAS)
        libc.prctl(_THP_DISABLE, 1, 0, 0, 0)


def settle_collector() -> None:
    """What was made so far stays; collections come seldom. Call it when all is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG, 20, 20)


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
