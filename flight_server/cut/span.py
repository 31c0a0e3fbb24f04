"""Which rows of a view belong to a cut: between two watermarks, per partition and lane.

Files whose offsets lie inside as a whole are read as they are, those outside are not read, and
only the few that a watermark crosses have their rows looked at one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contract.table import LANES, OFFSET, PARTITION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from contract.marker import NextByLane, NextOffsets
    from flight_server.lake.snapshot import DataFiles

_NOTHING: NextByLane = (0,) * len(LANES)
_TOP = np.int64(2**63 - 1)


class Split(NamedTuple):
    """Masks over files: all rows belong to the span, or some may. The rest has none."""

    whole: NDArray[np.bool_]
    part: NDArray[np.bool_]


@dataclass(frozen=True)
class Span:
    """Rows with lo <= offset < hi, by the row's partition and lane; partitions are those of `hi`.

    `others`: for rows of partitions that no log has, offsets below which they belong to it as well.
    """

    lo: NextOffsets
    hi: NextOffsets
    others: Mapping[int, int]

    def bounds(self, partition: int) -> tuple[NextByLane, NextByLane]:
        """First offset of each lane, and first one behind."""
        return self.lo.get(partition, _NOTHING), self.hi.get(partition, _NOTHING)

    @property
    def needs_lanes(self) -> bool:
        """Whether a row's lane decides anywhere."""
        return any(len(set(by_lane)) > 1 for p in self.hi for by_lane in self.bounds(p))

    def holds(
        self, partitions: NDArray[np.int64], offsets: NDArray[np.int64], lanes: NDArray[np.int8]
    ) -> NDArray[np.bool_]:
        """Which rows belong to the span; all of shape (rows,)."""
        known = np.array(sorted(self.hi), np.int64)
        held = np.zeros(len(partitions), bool)
        if len(known):
            lo = np.array([self.bounds(p)[0] for p in known.tolist()], np.int64)
            hi = np.array([self.bounds(p)[1] for p in known.tolist()], np.int64)
            at = np.minimum(np.searchsorted(known, partitions), len(known) - 1)
            held = (
                (known[at] == partitions) & (offsets >= lo[at, lanes]) & (offsets < hi[at, lanes])
            )
        for partition, end in self.others.items():
            held |= (partitions == partition) & (offsets < end)
        return held

    def split(self, files: DataFiles) -> Split:
        """Sort files by the bounds that their manifests have; unknown bounds decide nothing."""
        least_p, greatest_p = _bounds(files, PARTITION, np.int64(-(2**31)), np.int64(2**31 - 1))
        least_o, greatest_o = _bounds(files, OFFSET, np.int64(-_TOP), _TOP)
        inside = np.zeros(len(files), np.int64)  # partitions of the span in the file's range
        lo_all = np.full(len(files), -_TOP)  # at or above: in the span, whatever the lane
        hi_all = np.full(len(files), _TOP)
        some = np.zeros(len(files), bool)
        for partition in self.hi:
            lo, hi = self.bounds(partition)
            here = (least_p <= partition) & (partition <= greatest_p)
            inside += here
            np.maximum(lo_all, max(lo), out=lo_all, where=here)
            np.minimum(hi_all, min(hi), out=hi_all, where=here)
            some |= here & (greatest_o >= min(lo)) & (least_o < max(hi))
        for partition, end in self.others.items():
            some |= (least_p <= partition) & (partition <= greatest_p) & (least_o < end)
        covered = inside == greatest_p - least_p + 1
        whole = covered & (least_o >= lo_all) & (greatest_o < hi_all)
        return Split(whole, some & ~whole)


def _bounds(
    files: DataFiles, column: str, least: np.int64, greatest: np.int64
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bounds = files.bounds(column)
    if bounds is None:
        return np.full(len(files), least), np.full(len(files), greatest)
    return _filled(bounds.lower, least), _filled(bounds.upper, greatest)


def _filled(values: pa.ChunkedArray, unknown: np.int64) -> NDArray[np.int64]:
    filled: NDArray[np.int64] = (
        values.cast("int64").fill_null(int(unknown)).to_numpy().astype(np.int64)
    )
    return filled
