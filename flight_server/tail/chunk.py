"""Chunks and segments: immutable pieces of the tail, each with the range of the log it covers.

A *segment* covers one range of offsets per partition, contiguous with its neighbours; it may hold
no row at all (control records, duplicates). Its rows stand in *chunks*: one with mixed lanes while
the segment is open, one per lane once it is sealed, so that a deferred lane is whole chunks.
Ranges are fetch positions: `(lo, hi)` means every message with lo <= offset < hi was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.table import LANES, OFFSET, PARTITION, Lane
from flight_server.tail.columns import (
    DEAD_TAIL_SCHEMA,
    as_views,
    concat,
    filter_rows,
    integers,
    no_rows,
)
from flight_server.tail.watermarks import NOTHING_YET

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contract.marker import NextByLane, NextOffsets

Ranges = Mapping[int, tuple[int, int]]
# What a watermark takes from a chunk: (partition, lane, first offset that stays), sorted.
Clip = tuple[tuple[int, int, int], ...]

# Rejected messages have no lane. Their watermark is that of the dead letters, the same in each.
REJECTS_LANE = Lane.HIGH
_NO_REJECTS = no_rows(DEAD_TAIL_SCHEMA)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of one lane, or of all lanes (`lane` None, `lanes` tells each row's, shape (rows,)).

    `batch` has the tail's schema; rows of a partition stand in log order.
    """

    lane: Lane | None
    ranges: Ranges
    batch: pa.RecordBatch
    lanes: NDArray[np.int8] | None = None

    def clip(self, next_offsets: NextOffsets) -> Clip:
        """What these watermarks take from this chunk; equal clips take equal rows."""
        lanes = LANES if self.lane is None else (self.lane,)
        taken = []
        for partition, (lo, hi) in sorted(self.ranges.items()):
            watermarks = next_offsets.get(partition, NOTHING_YET)
            taken += [
                (partition, int(lane), min(watermarks[lane], hi))
                for lane in lanes
                if watermarks[lane] > lo
            ]
        return tuple(taken)

    def ends(self) -> dict[int, int]:
        """The offset behind the last row of each partition that has rows."""
        places = zip(
            integers(self.batch, PARTITION).tolist(),
            integers(self.batch, OFFSET).tolist(),
            strict=True,
        )
        return {partition: offset + 1 for partition, offset in places}

    def is_covered_by(self, clip: Clip) -> bool:
        """Whether nothing of this chunk's range stays."""
        lanes = len(LANES) if self.lane is None else 1
        full = sum(first == self.ranges[p][1] for p, _, first in clip)
        return full == lanes * len(self.ranges)

    def cut(self, clip: Clip) -> pa.RecordBatch | None:
        """The rows at or above the watermarks; None if there are none."""
        if self.batch.num_rows == 0 or self.is_covered_by(clip):
            return None
        if not clip:
            return self.batch
        partitions = integers(self.batch, PARTITION)
        first = np.zeros((max(self.ranges) + 1, len(LANES)), dtype=np.int64)
        for partition, lane, offset in clip:
            first[partition, lane] = offset
        lanes = self.lanes if self.lanes is not None else int(self.lane or 0)
        mask = integers(self.batch, OFFSET) >= first[partitions, lanes]
        if mask.all():
            return self.batch
        return filter_rows(self.batch, mask) if mask.any() else None


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A range of the log: its rows by chunk, and the messages in it that could not be decoded.

    `stored`: the same rows with plain strings, from which merges are made; None once sealed.
    `number`: of its files; None while it is open. `since_s`: monotonic time of its oldest poll.
    `tier`: how often it was merged. `closed`: it is being sealed, and is not merged any more.
    `missing_below`: after a start, lanes whose watermark lay above the first position were read
    from that watermark on only; the segment lacks their rows below it.
    """

    ranges: Ranges
    chunks: tuple[Chunk, ...]
    rejects: Chunk
    row_count: int
    byte_count: int
    since_s: float
    stored: pa.RecordBatch | None = None
    number: int | None = None
    tier: int = 0
    closed: bool = False
    missing_below: NextOffsets = field(default_factory=dict)

    def is_below(self, next_offsets: NextOffsets) -> bool:
        """Whether these watermarks lie at or above the end of all of it."""
        return all(
            end <= min(next_offsets.get(partition, NOTHING_YET))
            for partition, (_, end) in self.ranges.items()
        )


def open_segment(
    ranges: Ranges,
    stored: pa.RecordBatch,
    lanes: NDArray[np.int8],
    rejects: pa.RecordBatch,
    schema: pa.Schema,
    *,
    byte_count: int,
    since_s: float,
    tier: int = 0,
    missing_below: NextOffsets | None = None,
) -> Segment:
    """A segment of what one or several polls brought.

    `stored`: kept rows, stored schema; `lanes`: of each row; `rejects`: DEAD_SCHEMA, strings or
    views; `schema`: of the tail's rows; `byte_count`: of the messages.
    """
    dead = as_views(rejects, DEAD_TAIL_SCHEMA) if rejects.num_rows else _NO_REJECTS
    return Segment(
        ranges=ranges,
        chunks=(Chunk(None, ranges, as_views(stored, schema), lanes),),
        rejects=Chunk(REJECTS_LANE, ranges, dead),
        row_count=stored.num_rows,
        byte_count=byte_count,
        since_s=since_s,
        stored=stored,
        tier=tier,
        missing_below=missing_below or {},
    )


def merge(segments: Sequence[Segment], tier: int) -> Segment:
    """One open segment in place of these neighbours, which are open too."""
    first = segments[0]
    return open_segment(
        joined_ranges(segments),
        concat([s.stored for s in segments]),
        np.concatenate([_lanes(s) for s in segments]),
        concat([s.rejects.batch for s in segments]),
        first.chunks[0].batch.schema,
        byte_count=sum(s.byte_count for s in segments),
        since_s=first.since_s,
        tier=tier,
        missing_below=joined_missing(segments),
    )


def joined_ranges(segments: Sequence[Segment]) -> dict[int, tuple[int, int]]:
    """The range that these neighbours cover together."""
    ranges: dict[int, tuple[int, int]] = {}
    for segment in segments:
        for partition, (lo, hi) in segment.ranges.items():
            ranges[partition] = (ranges.get(partition, (lo, hi))[0], hi)
    return ranges


def joined_missing(segments: Sequence[Segment]) -> NextOffsets:
    """`missing_below` of these neighbours together.

    One that was covered between them may have been trimmed: the whole lacks its rows as well.
    """
    missing: dict[int, NextByLane] = {}
    ends: dict[int, int] = {}
    for segment in segments:
        for partition, (lo, hi) in segment.ranges.items():
            if ends.get(partition, lo) != lo:
                missing[partition] = (lo,) * len(LANES)
            ends[partition] = hi
        for partition, offsets in segment.missing_below.items():
            before = missing.get(partition, NOTHING_YET)
            missing[partition] = tuple(map(max, before, offsets))
    return missing


def rows_of_lane(segments: Sequence[Segment], lane: Lane, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of these open neighbours in one lane, tail schema, compact.

    Filtered piece by piece: small pieces live in memory that is used again, while a large
    allocation costs a page fault for every page of it.
    """
    parts = [
        s.stored.filter(pa.array(mask))
        for s in segments
        if s.stored is not None and (mask := _lanes(s) == lane).any()
    ]
    return as_views(concat(parts), schema, compact=True) if parts else no_rows(schema)


def rows_by_lane(segments: Sequence[Segment]) -> list[int]:
    """How many rows these open neighbours have in each lane."""
    counts = [np.bincount(_lanes(s), minlength=len(LANES)) for s in segments]
    return [int(count) for count in np.sum(counts, axis=0)]


def _lanes(segment: Segment) -> NDArray[np.int8]:
    lanes = segment.chunks[0].lanes
    return np.empty(0, np.int8) if lanes is None else lanes
