"""Which faults come in which order. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import count
from typing import TYPE_CHECKING

from contract.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

ALL, NONE = "all", "none"
KINDS = (
    "kill-sidecar",
    "kill-before-write",
    "kill-before-commit",
    "kill-after-commit",
    "kill-in-compaction",
    "zombie",
    "kill-server",
    "kill-server-warm",
    "restart-broker",
    "kill-broker",
    "lock-catalog",
    "lose-response",
    "foreign-append",
    "foreign-compaction",
    "expire-snapshots",
    "rollback",
    "duplicates",
    "late",
    "poison",
    "levels",
)


def chosen(names: Sequence[str]) -> list[str]:
    """The kinds that these names mean. Raises RequestError for an unknown one."""
    known = (*KINDS, ALL, NONE)
    for name in names:
        if name not in known:
            (near,) = get_close_matches(name, known, n=1, cutoff=0.0)
            raise RequestError(f"--faults: there is no fault {name}; the nearest is {near}")
    if ALL in names:
        return list(KINDS)
    return [kind for kind in KINDS if kind in names]


def rounds(kinds: Sequence[str], rng: Random, limit: int) -> Iterator[str]:
    """Each kind once in each round, in an order of the round's own; `limit` 0: endless."""
    numbers = count() if limit == 0 else range(limit)
    for _ in numbers if kinds else ():
        yield from rng.sample(kinds, len(kinds))
