"""Watermarks: next offsets per partition and lane, and how those of lake and tail meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contract.table import LANES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from contract.marker import Marker, NextByLane, NextOffsets

NOTHING_YET: NextByLane = (0,) * len(LANES)


class LakeLike(Protocol):
    """What the view must know about a table's snapshot."""

    @property
    def snapshot_id(self) -> int | None:
        """Id of the pinned snapshot; None for a table without one."""
        ...

    @property
    def marker(self) -> Marker | None:
        """Which part of the log it holds; None: none yet."""
        ...


Gaps = tuple[tuple[int, int, int], ...]  # partition, first offset, first offset after it


def gaps_of(marker: Marker | None) -> Gaps:
    """What the table will never hold. The duplicate rule is computed without it."""
    gaps = marker.gaps if marker is not None else ()
    return tuple((g.partition, g.from_offset, g.to_offset) for g in gaps)


def first_below(next_offsets: NextOffsets, lo: NextOffsets) -> tuple[int, int, int] | None:
    """A partition whose watermarks lie below `lo`, as (partition, watermark, lo); else None."""
    for partition, floors in lo.items():
        for watermark, floor in zip(next_offsets.get(partition, NOTHING_YET), floors, strict=True):
            if watermark < floor:
                return partition, watermark, floor
    return None


def joined(next_offsets: NextOffsets, hi: Mapping[int, int]) -> dict[int, NextByLane]:
    """The cut: per partition and lane, how far lake and tail reach together."""
    cut: dict[int, NextByLane] = {}
    for partition in sorted(next_offsets.keys() | hi.keys()):
        end = hi.get(partition, 0)
        cut[partition] = tuple(max(n, end) for n in next_offsets.get(partition, NOTHING_YET))
    return cut


def watermarks(
    marker: Marker | None, origin: Mapping[int, int], partitions: Iterable[int]
) -> NextOffsets:
    """Those of the marker, and of these partitions the beginning where it doesn't know them."""
    known = marker.next if marker is not None else {}
    unknown = {p: (origin.get(p, 0),) * len(LANES) for p in partitions if p not in known}
    return {**known, **unknown}


def dead_watermarks(dead: LakeLike | None) -> NextOffsets:
    """Those of the dead-letter table: the same in every lane."""
    marker = dead.marker if dead is not None else None
    if marker is None:
        return {}
    return {p: (marker.next_offset(p),) * len(LANES) for p in marker.next}
