"""Which decoded messages go on to the buffer: each offset once, each business message once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.lanes import lanes_of
from contract.table import LANES, OFFSET, PARTITION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from contract.decode import Decoded
    from contract.duplicates import DuplicateFilter, RememberedByLane
    from contract.marker import Marker, NextOffsets
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
    """Drops what was read before: below the position, or below the marker at the start.

    `rows` and `dead`: the markers that this process starts from. A lane of `rows` that is ahead of
    the others drops its messages until the position has reached it.
    """

    def __init__(
        self, definition: TableDefinition, duplicates: DuplicateFilter, rows: Marker, dead: Marker
    ) -> None:
        self._definition = definition
        self._duplicates = duplicates
        self._floor = np.zeros((0, len(LANES)), np.int64)  # [partition, lane] -> next offset
        self._position = np.zeros(0, np.int64)
        self._dead_next = np.zeros(0, np.int64)
        for partition, by_lane in rows.next.items():
            self._grow(partition)
            self._floor[partition] = by_lane
            self._position[partition] = min(by_lane)
        for partition in dead.next:
            self._grow(partition)
            self._dead_next[partition] = dead.next_offset(partition)

    def admit(self, decoded: Decoded) -> Admitted:
        """What of these messages, the next of the log, is new."""
        rows, duplicates = self._rows(decoded.rows)
        rejects, skipped, tombstones = self._rejects(decoded.rejects)
        return Admitted(rows, rejects, duplicates, skipped, tombstones)

    def advance(self, positions: Mapping[int, int]) -> None:
        """Everything below these offsets was read."""
        for partition, position in positions.items():
            self._grow(partition)
            self._position[partition] = max(position, self._position[partition])
            np.maximum(self._floor[partition], position, out=self._floor[partition])

    def next_offsets(self) -> NextOffsets:
        """For the marker: per partition and lane."""
        return {p: tuple(by_lane) for p, by_lane in enumerate(self._floor.tolist())}

    def remembered(self) -> Mapping[int, RememberedByLane]:
        """For the marker: what the duplicate rule must be seeded with."""
        positions = enumerate(self._position.tolist())
        return {p: self._duplicates.remembered(p, position) for p, position in positions}

    def _rows(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        if not rows.num_rows:
            return rows, 0
        lanes = lanes_of(self._definition, rows)
        partitions, offsets = _where(rows)
        self._grow(int(partitions.max()))
        fresh = offsets >= self._floor[partitions, lanes]
        if not fresh.all():
            rows, lanes = rows.filter(pa.array(fresh)), lanes[fresh]
        kept = self._duplicates.keep(rows, lanes)
        dropped = len(kept) - int(kept.sum())
        return (rows.filter(pa.array(kept)) if dropped else rows), dropped

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
            self._dead_next = np.pad(self._dead_next, (0, missing))


def _where(rows: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    return rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
