"""How a table is cut into strips that fit into memory: ranges of offsets, all partitions. Pure.

Strips follow the row groups in the order of their commits, so that as a rule each row group is
read once, whatever the number of partitions. Where row groups overlap it is read again: slower,
never wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from highwater.verify.facts import RowGroup

Strip = dict[int, tuple[int, int]]  # partition -> offsets [from, to)


def plan_strips(
    groups: Sequence[RowGroup],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    strip_rows: int,
) -> Iterator[Strip]:
    """Cover [start, end) of each partition once, in order, with about `strip_rows` offsets each.

    `groups`: in the order of their commits. What they hold outside of [start, end) is left out.
    """
    at = dict(starts)
    reached = dict(starts)
    for group in groups:
        for partition in group.spans.keys() & at.keys():
            behind = min(group.spans[partition].highest + 1, ends[partition])
            reached[partition] = max(reached[partition], behind)
        if sum(reached.values()) - sum(at.values()) >= strip_rows:
            yield from _pieces(at, reached, strip_rows)
            at = dict(reached)
    yield from _pieces(at, {p: max(ends[p], at[p]) for p in at}, strip_rows)


def _pieces(start: Mapping[int, int], end: Mapping[int, int], strip_rows: int) -> Iterator[Strip]:
    total = sum(end[p] - start[p] for p in start)
    count = -(-total // strip_rows)
    for k in range(count):
        strip = {
            p: (
                start[p] + (end[p] - start[p]) * k // count,
                start[p] + (end[p] - start[p]) * (k + 1) // count,
            )
            for p in start
        }
        yield {p: (a, b) for p, (a, b) in strip.items() if a < b}


class GroupIndex:
    """Finds the row groups that hold offsets of a strip."""

    def __init__(self, groups: Sequence[RowGroup]) -> None:
        self._groups = list(groups)
        self._spans = {
            partition: np.array(
                [
                    (i, g.spans[partition].lowest, g.spans[partition].highest)
                    for i, g in enumerate(self._groups)
                    if partition in g.spans
                ],
                dtype=np.int64,
            ).reshape(-1, 3)
            for partition in {p for g in self._groups for p in g.spans}
        }

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Partition -> offsets [lowest, highest + 1) that occur."""
        return {p: (int(s[:, 1].min()), int(s[:, 2].max()) + 1) for p, s in self._spans.items()}

    def of(self, strip: Strip) -> list[RowGroup]:
        """The row groups of this strip, each once."""
        wanted: set[int] = set()
        for partition, (start, end) in strip.items():
            spans = self._spans.get(partition)
            if spans is not None:
                hit = (spans[:, 1] < end) & (spans[:, 2] >= start)
                wanted.update(spans[hit, 0].tolist())
        return [self._groups[i] for i in sorted(wanted)]
