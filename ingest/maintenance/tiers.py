"""Which small files to make one file of. Pure.

Files of a day are put together where enough of like size have gathered: a tier holds files of
fanout^t up to fanout^(t+1) rows, and `fanout` files of one tier make a file of a higher one. So a
row is written again at most once for each tier, and at most `fanout - 1` files of a tier wait.
Tiers count rows, not bytes: rows add up exactly, while several small files are more bytes than the
one that is made of them, and a merger that does not reach the next tier could be made for ever.

A file of half the target or more is left alone, and files that make up half of the target together
need not wait for others. For a day to which nothing comes any more the fanout is 2.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FANOUT = 8
SETTLED_FANOUT = 2
SETTLED_S = 3_600.0


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A live data file. `day`: its partition; times are the broker's, in s; `is_new`: it was added
    less than `SETTLED_S` ago, as far as the snapshots that are known tell.
    """

    path: str
    day: int
    rows: int
    size_bytes: int
    first_s: float
    last_s: float
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one day that are to become one, oldest first."""

    day: int
    files: tuple[SmallFile, ...]

    @property
    def rows(self) -> int:
        """Of all of them."""
        return sum(f.rows for f in self.files)

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        return sum(f.size_bytes for f in self.files)


def plan(files: Iterable[SmallFile], target_bytes: int, now_s: float) -> list[Group]:
    """The groups that are worth it now, those with most files first. None exceeds the target."""
    days: dict[int, list[SmallFile]] = defaultdict(list)
    for file in files:
        days[file.day].append(file)
    groups: list[Group] = []
    for day, members in days.items():
        settled = all(not f.is_new and now_s - f.last_s >= SETTLED_S for f in members)
        fanout = SETTLED_FANOUT if settled else FANOUT
        small = [Group(day, (f,)) for f in members if 2 * f.size_bytes < target_bytes]
        groups += [g for g in _merged(small, fanout, target_bytes) if len(g.files) > 1]
    return sorted(groups, key=lambda g: (-len(g.files), g.day, g.files[0].path))


def tier_of(rows: int, fanout: int) -> int:
    """The t with fanout^t <= rows < fanout^(t+1); 0 for no rows."""
    tier = 0
    while (rows := rows // fanout) > 0:
        tier += 1
    return tier


def _merged(units: Iterable[Group], fanout: int, target_bytes: int) -> Iterator[Group]:
    """Tier by tier, from below; what a merger makes may be part of one in a higher tier."""
    waiting: dict[int, list[Group]] = defaultdict(list)
    for unit in units:
        waiting[tier_of(unit.rows, fanout)].append(unit)
    while waiting:
        for packed in _packed(waiting.pop(min(waiting)), target_bytes):
            whole = _joined(packed)
            if len(packed) > 1 and 2 * whole.size_bytes >= target_bytes:
                yield whole
            elif len(packed) >= fanout:
                waiting[tier_of(whole.rows, fanout)].append(whole)
            else:
                yield from packed


def _packed(units: Sequence[Group], target_bytes: int) -> Iterator[list[Group]]:
    """Neighbours in time, together within the target."""
    packed: list[Group] = []
    size_bytes = 0
    for unit in sorted(units, key=_age):
        if packed and size_bytes + unit.size_bytes > target_bytes:
            yield packed
            packed, size_bytes = [], 0
        packed.append(unit)
        size_bytes += unit.size_bytes
    if packed:
        yield packed


def _joined(units: Sequence[Group]) -> Group:
    files = [f for unit in units for f in unit.files]
    return Group(units[0].day, tuple(sorted(files, key=lambda f: (f.first_s, f.path))))


def _age(unit: Group) -> tuple[float, str]:
    return unit.files[0].first_s, unit.files[0].path
