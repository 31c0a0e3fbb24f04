"""Which decoded messages go on to the buffer: each offset once, each business message once.

Two readers bring messages. The *live* one reads the log forward; its position is the largest next
offset of a partition's lanes. A lane that waits stays where it is while the live reader goes on,
so it falls behind. The *backfill* reads the log again from there, for the lanes that are behind and
need not wait, until they have met the live reader.

A reader's messages of a lane are taken only where the reader continues that lane without a hole:
so each lane gets its messages in the order of the log, whoever brings them, and the duplicate rule
(one memory for each partition and lane) keeps the same rows as if no lane had ever waited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.lanes import lanes_of
from contract.table import LANES, OFFSET, PARTITION, Lane

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from contract.decode import Decoded
    from contract.duplicates import DuplicateFilter, RememberedByLane
    from contract.marker import Marker, NextByLane, NextOffsets
    from contract.table import TableDefinition


@dataclass(frozen=True, slots=True)
class Admitted:
    """`duplicates`: rows dropped by the rule; `skipped`: rejects that are dead letters already.

    `tombstones`: how many of the rejects, the skipped ones among them, have no value.
    """

    rows: pa.RecordBatch
    rejects: pa.RecordBatch
    duplicates: int
    skipped: int
    tombstones: int


class Admission:
    """Drops what was read before, and what waits. `rows` and `dead`: the markers at the start.

    No lane is ever ahead of the live position. Rejects have no lane: they are the live reader's.
    """

    def __init__(
        self, definition: TableDefinition, duplicates: DuplicateFilter, rows: Marker, dead: Marker
    ) -> None:
        self._definition = definition
        self._duplicates = duplicates
        self._floor = np.zeros((0, len(LANES)), np.int64)  # [partition, lane] -> next offset
        self._position = np.zeros(0, np.int64)  # of the live reader
        self._again = np.zeros(0, np.int64)  # of the backfill
        self._dead_next = np.zeros(0, np.int64)
        self._waits = np.zeros(len(LANES), bool)
        self.waiting_rows = np.zeros(len(LANES), np.int64)  # read, and not taken as they wait
        self.waiting_bytes = np.zeros(len(LANES), np.int64)
        for partition, by_lane in rows.next.items():
            self._grow(partition)
            self._floor[partition] = by_lane
            self._position[partition] = max(by_lane)
        for partition in dead.next:
            self._grow(partition)
            self._dead_next[partition] = dead.next_offset(partition)

    # -- the live reader

    def admit(self, decoded: Decoded) -> Admitted:
        """What of these messages, the next of the log, is new and need not wait."""
        rows, duplicates = self._live_rows(decoded.rows)
        rejects, skipped, tombstones = self._rejects(decoded.rejects)
        return Admitted(rows, rejects, duplicates, skipped, tombstones)

    def advance(self, positions: Mapping[int, int]) -> None:
        """The live reader has read everything below these offsets."""
        for partition, position in positions.items():
            self._grow(partition)
            before = self._position[partition]
            if position > before:
                floor = self._floor[partition]
                floor[(floor == before) & ~self._waits] = position
                self._position[partition] = position

    # -- the backfill

    def wait(self, lanes: Collection[Lane]) -> None:
        """From now on these lanes wait, and no others."""
        self._waits[:] = [lane in lanes for lane in LANES]

    def behind(self) -> dict[int, int]:
        """Where the backfill must read: partition -> first offset of a lane that need not wait."""
        found = {}
        for partition, position in enumerate(self._position.tolist()):
            floors = self._floor[partition][~self._waits]
            if len(floors) and (first := int(floors.min())) < position:
                found[partition] = first
        return found

    def begin_backfill(self, positions: Mapping[int, int]) -> None:
        """The backfill now reads these partitions, from these offsets."""
        for partition, position in positions.items():
            self._again[partition] = position

    def admit_again(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        """What of these rows, the next of the backfill, its lanes miss; how many are duplicates."""
        if not rows.num_rows:
            return rows, 0
        lanes = lanes_of(self._definition, rows)
        partitions, offsets = _where(rows)
        floors = self._floor[partitions, lanes]
        missed = (offsets >= floors) & (offsets < self._position[partitions])
        missed &= (floors >= self._again[partitions]) & ~self._waits[lanes]
        self._count(rows, lanes, missed, -1)
        return self._keep(rows, lanes, missed)

    def advance_again(self, positions: Mapping[int, int]) -> bool:
        """The backfill has read everything below these offsets; whether a lane has moved."""
        moved = False
        for partition, position in positions.items():
            floor, before = self._floor[partition], self._again[partition]
            reached = min(position, self._position[partition])
            mine = (floor >= before) & (floor < reached) & ~self._waits
            floor[mine] = reached
            self._again[partition] = max(position, before)
            moved |= bool(mine.any())
        if not self.is_behind():
            self.waiting_rows[:] = self.waiting_bytes[:] = 0
        return moved

    def lost(self, partition: int, low: int) -> list[tuple[int, tuple[Lane, ...]]]:
        """The lanes that the backfill misses below `low`, the log's start, by where they stand."""
        floor = self._floor[partition]
        gone = ~self._waits & (floor < min(low, int(self._position[partition])))
        return [
            (start, tuple(lane for lane in LANES if gone[lane] and floor[lane] == start))
            for start in sorted(set(floor[gone].tolist()))
        ]

    def pass_over(self, partition: int, lanes: Collection[Lane], to_offset: int) -> None:
        """These lanes will never have what is below this offset."""
        floor = self._floor[partition]
        mine = [lane in lanes for lane in LANES]
        floor[mine] = np.maximum(floor[mine], min(to_offset, int(self._position[partition])))

    # -- for the marker, and for people

    def next_offsets(self) -> NextOffsets:
        """For the marker: per partition and lane."""
        return {p: tuple(by_lane) for p, by_lane in enumerate(self._floor.tolist())}

    def remembered(self) -> Mapping[int, RememberedByLane]:
        """For the marker: what the duplicate rule must be seeded with."""
        floors = enumerate(self._floor.tolist())
        return {p: self._duplicates.remembered(p, by_lane) for p, by_lane in floors}

    def is_behind(self) -> bool:
        """Whether any lane is behind the live reader, be it that it waits."""
        return bool((self._floor < self._position[:, None]).any())

    def behind_messages(self) -> NextByLane:
        """Offsets between each lane and the live reader, over all partitions."""
        return tuple((self._position[:, None] - self._floor).sum(axis=0).tolist())

    # -- within

    def _live_rows(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        if not rows.num_rows:
            return rows, 0
        lanes = lanes_of(self._definition, rows)
        partitions, offsets = _where(rows)
        self._grow(int(partitions.max()))
        new = offsets >= self._position[partitions]
        met = (self._floor == self._position[:, None]) & ~self._waits
        if met.all():
            return self._keep(rows, lanes, new)
        taken = new & met[partitions, lanes]
        self._count(rows, lanes, new & ~taken, 1)
        return self._keep(rows, lanes, taken)

    def _keep(
        self, rows: pa.RecordBatch, lanes: NDArray[np.int8], wanted: NDArray[np.bool_]
    ) -> tuple[pa.RecordBatch, int]:
        if not wanted.all():
            rows, lanes = rows.filter(pa.array(wanted)), lanes[wanted]
        kept = self._duplicates.keep(rows, lanes)
        dropped = len(kept) - int(kept.sum())
        return (rows.filter(pa.array(kept)) if dropped else rows), dropped

    def _count(
        self, rows: pa.RecordBatch, lanes: NDArray[np.int8], these: NDArray[np.bool_], sign: int
    ) -> None:
        counts = np.bincount(lanes[these], minlength=len(LANES))
        row_bytes = rows.nbytes // rows.num_rows
        for total, change in (
            (self.waiting_rows, counts),
            (self.waiting_bytes, counts * row_bytes),
        ):
            np.maximum(total + sign * change, 0, out=total)

    def _rejects(self, rejects: pa.RecordBatch) -> tuple[pa.RecordBatch, int, int]:
        if not rejects.num_rows:
            return rejects, 0, 0
        partitions, offsets = _where(rejects)
        self._grow(int(partitions.max()))
        fresh = offsets >= self._position[partitions]
        wanted = fresh & (offsets >= self._dead_next[partitions])
        tombstones = rejects.filter(pa.array(fresh)).column("value").null_count
        return rejects.filter(pa.array(wanted)), int(fresh.sum() - wanted.sum()), tombstones

    def _grow(self, partition: int) -> None:
        missing = partition + 1 - len(self._position)
        if missing > 0:
            self._floor = np.pad(self._floor, ((0, missing), (0, 0)))
            self._position = np.pad(self._position, (0, missing))
            self._again = np.pad(self._again, (0, missing))
            self._dead_next = np.pad(self._dead_next, (0, missing))


def _where(rows: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    return rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
