"""Freed memory goes back to the system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flight_server.memory import _glibc, give_back, settle_allocators


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(_glibc() is None, reason="the C library has no malloc_trim")
def test_freed_memory_is_given_back() -> None:
    settle_allocators()
    blocks = [bytes(1_000) for _ in range(100_000)]
    kept = blocks[-1]  # the heap cannot shrink from its end
    full = _resident_bytes()
    del blocks

    give_back()

    assert full - _resident_bytes() > 50_000_000
    assert len(kept) == 1_000
