"""Start from what is there: which sealed segments fit a marker, and what the filter remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.duplicates import CLOCK_START_US, Remembered
from contract.lanes import lanes_of
from contract.table import LANES, OFFSET, PARTITION, TIMESTAMP
from flight_server.tail.columns import as_strings, filter_rows, integers
from flight_server.tail.watermarks import NOTHING_YET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from contract.duplicates import DuplicateFilter, RememberedByLane
    from contract.marker import NextOffsets
    from contract.table import TableDefinition
    from flight_server.tail.chunk import Segment


def fitting(
    segments: Sequence[Segment], next_offsets: NextOffsets, dead_next: NextOffsets
) -> tuple[list[Segment], dict[int, int]]:
    """The segments that continue this marker without a hole, and where the log goes on after them.

    `segments`: in order of their numbers. What the marker covers is left out; from the first one
    that does not fit, all are.
    """
    kept: list[Segment] = []
    ends: dict[int, int] = {}
    for segment in segments:
        if not _continues(segment, ends, next_offsets):
            break
        needed = not _is_covered(segment, next_offsets, dead_next)
        if needed:
            kept.append(segment)
        for partition, (_, hi) in segment.ranges.items():
            if needed or partition in ends:
                ends[partition] = hi
    positions = {p: min(offsets) for p, offsets in next_offsets.items()}
    for partition, end in ends.items():
        positions[partition] = max(end, positions.get(partition, 0))
    return kept, positions


def _continues(segment: Segment, ends: Mapping[int, int], next_offsets: NextOffsets) -> bool:
    held = {c.lane for c in segment.chunks}
    for partition, (lo, hi) in segment.ranges.items():
        watermarks = next_offsets.get(partition, NOTHING_YET)
        if partition in ends and lo != ends[partition]:
            return False
        if partition not in ends and lo > min(watermarks):
            return False
        missing = segment.missing_below.get(partition, NOTHING_YET)
        needed = [hi if lane not in held else missing[lane] for lane in LANES]
        if any(watermarks[lane] < needed[lane] for lane in LANES):
            return False
    return True


def _is_covered(segment: Segment, next_offsets: NextOffsets, dead_next: NextOffsets) -> bool:
    rejects = segment.rejects
    if rejects.cut(rejects.clip(dead_next)) is not None:
        return False
    return all(c.is_covered_by(c.clip(next_offsets)) for c in segment.chunks)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Kept rows in log order: the columns that the duplicate rule needs, and their lanes."""

    rows: pa.RecordBatch
    lanes: NDArray[np.int8]

    def groups(self) -> NDArray[np.int64]:
        """Partition and lane of each row as one number."""
        return integers(self.rows, PARTITION).astype(np.int64) * len(LANES) + self.lanes


@dataclass(slots=True)
class _Suffix:
    """Per group: how many rows are taken, and the newest timestamp of those that are not."""

    wanted_rows: int
    taken: NDArray[np.int64]
    clocks_us: NDArray[np.int64]
    pieces: list[_Piece] = field(default_factory=list)

    def take(self, piece: _Piece) -> None:
        """The piece before the ones that were taken so far."""
        groups = piece.groups()
        wanted = self.taken[groups] < self.wanted_rows
        timestamps_us = integers(piece.rows, TIMESTAMP)
        np.maximum.at(self.clocks_us, groups[~wanted], timestamps_us[~wanted])
        if wanted.any():
            self.taken += np.bincount(groups[wanted], minlength=len(self.taken))
            rows = piece.rows if wanted.all() else filter_rows(piece.rows, wanted)
            self.pieces.append(_Piece(as_strings(rows), piece.lanes[wanted]))


def seed(
    duplicates: DuplicateFilter,
    definition: TableDefinition,
    remembered: Mapping[int, RememberedByLane],
    next_offsets: NextOffsets,
    lake_rows: Iterable[pa.RecordBatch],
    segments: Sequence[Segment],
) -> None:
    """Bring the filter to where it stood after the last row of `segments`.

    `remembered`: of the marker. `lake_rows`: the lake's rows from there to the marker's
    watermarks, in any order; more does no harm. Only the newest `duplicate_rows` rows of each
    partition and lane are gone through: of what is older, the rule knows no more than the clock.
    """
    columns = [definition.message_id, PARTITION, OFFSET, TIMESTAMP]
    partitions = next_offsets.keys() | remembered.keys()
    groups = (max(partitions, default=0) + 1) * len(LANES)
    suffix = _Suffix(
        definition.duplicate_rows,
        np.zeros(groups, np.int64),
        np.full(groups, CLOCK_START_US, np.int64),
    )
    for segment in reversed(segments):
        for chunk in reversed(segment.chunks):
            rows = chunk.cut(chunk.clip(next_offsets))
            if rows is not None:
                lanes = np.full(rows.num_rows, chunk.lane, np.int8)
                suffix.take(_Piece(rows.select(columns), lanes))
    if (piece := _lake_piece(definition, remembered, next_offsets, lake_rows)) is not None:
        suffix.take(piece)
    duplicates.start(_moved(remembered, suffix.clocks_us, partitions))
    for piece in reversed(suffix.pieces):
        # Not `append`: over so many rows an id may stand twice, kept again after its time was over.
        duplicates.keep(piece.rows, piece.lanes)


def _moved(
    remembered: Mapping[int, RememberedByLane],
    clocks_us: NDArray[np.int64],
    partitions: Iterable[int],
) -> dict[int, RememberedByLane]:
    moved = {}
    for partition in partitions:
        starts = remembered.get(partition, (Remembered(0, CLOCK_START_US),) * len(LANES))
        moved[partition] = tuple(
            Remembered(start.from_offset, max(start.clock_us, int(clock_us)))
            for start, clock_us in zip(
                starts,
                clocks_us[partition * len(LANES) : (partition + 1) * len(LANES)],
                strict=True,
            )
        )
    return moved


def _lake_piece(
    definition: TableDefinition,
    remembered: Mapping[int, RememberedByLane],
    next_offsets: NextOffsets,
    lake_rows: Iterable[pa.RecordBatch],
) -> _Piece | None:
    """The lake's remembered rows in log order. No others are held: a lane may be far behind."""
    first, end = _bounds(remembered, next_offsets)
    found: list[pa.RecordBatch] = []
    for batch in lake_rows:
        rows = as_strings(batch)
        lanes = lanes_of(definition, rows)
        partitions, at = integers(rows, PARTITION), integers(rows, OFFSET)
        known = (partitions >= 0) & (partitions < len(first))
        where = np.where(known, partitions, 0)
        mask = known & (at >= first[where, lanes]) & (at < end[where, lanes])
        if mask.any():
            found.append(rows.filter(pa.array(mask)))
    if not found:
        return None
    table = pa.Table.from_batches(found).sort_by([(PARTITION, "ascending"), (OFFSET, "ascending")])
    rows = table.combine_chunks().to_batches()[0]
    columns = [definition.message_id, PARTITION, OFFSET, TIMESTAMP]
    return _Piece(rows.select(columns), lanes_of(definition, rows))


def _bounds(
    remembered: Mapping[int, RememberedByLane], next_offsets: NextOffsets
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the remembered rows of the lake begin and end, shape (partitions, lanes) each."""
    size = (max([0, *next_offsets, *remembered]) + 1, len(LANES))
    first, end = np.full(size, 2**62, np.int64), np.zeros(size, np.int64)
    for partition, starts in remembered.items():
        first[partition] = [s.from_offset for s in starts]
    for partition, offsets in next_offsets.items():
        end[partition] = offsets
    return first, end
