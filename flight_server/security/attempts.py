"""How often a name may be tried: after some failures, only once in a while."""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.clock import Clock

FREE = 5  # wrong passwords before the first wait: people mistype
_FIRST_WAIT_S = 1.0
_WAIT_MAX_S = 60.0
_FORGET_S = 900.0
_BUCKETS = 4096


@dataclass
class _Bucket:
    failures: int = 0
    free_at_s: float = 0.0
    forget_at_s: float = 0.0


class AttemptLimiter:
    """Waits after failures, doubling from 1 s to 60 s; a success, or 15 quiet minutes, end them.

    Names are spread over a fixed number of buckets by a keyed hash. So memory is bounded, no flood
    of made-up names pushes a real one out, a name that nobody has is treated like any other, and
    nobody can aim at another name's bucket. Thread-safe.
    """

    def __init__(self, clock: Clock, key: bytes) -> None:
        """`key`: random bytes of this process."""
        self._clock = clock
        self._key = key
        self._buckets: dict[int, _Bucket] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def begin(self, name: str) -> float:
        """Count an attempt as failed before it is made: 0, or how long (s) it must wait instead."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            bucket = self._buckets.setdefault(self._index(name), _Bucket())
            if now_s >= bucket.forget_at_s:
                bucket.failures = 0
            elif now_s < bucket.free_at_s:
                return bucket.free_at_s - now_s
            bucket.failures += 1
            bucket.forget_at_s = now_s + _FORGET_S
            over = bucket.failures - FREE
            bucket.free_at_s = now_s
            if over >= 0:
                bucket.free_at_s += min(_WAIT_MAX_S, _FIRST_WAIT_S * 2.0 ** min(over, 16))
            return 0.0

    def succeeded(self, name: str) -> None:
        """The attempt was no failure after all: forget all of them."""
        with self._lock:
            self._buckets.pop(self._index(name), None)

    def _index(self, name: str) -> int:
        digest = hmac.digest(self._key, name.encode(), "sha256")
        return int.from_bytes(digest[:4], "big") % _BUCKETS
