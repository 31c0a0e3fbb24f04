"""Rows that were read and are not yet handed over for a commit. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.marker import Gap


@dataclass(frozen=True, slots=True)
class Drained:
    """What one flush holds: all that was read up to `positions`."""

    rows: pa.Table
    rejects: pa.Table
    positions: Mapping[int, int]  # partition -> next offset to read
    dead_letters: int  # rejects of this range, those that are in the dead letters already too
    tombstones: int  # of the dead letters
    duplicates: int
    gaps: tuple[Gap, ...]
    size_bytes: int


class Buffer:
    """Batches in the order they were read, with their size and age.

    `positions` covers all that was ever added, so it stays after a drain.
    """

    def __init__(
        self, rows_schema: pa.Schema, rejects_schema: pa.Schema, positions: Mapping[int, int]
    ) -> None:
        self._rows_schema = rows_schema
        self._rejects_schema = rejects_schema
        self.positions = dict(positions)
        self._clear()

    def _clear(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rejects: list[pa.RecordBatch] = []
        self._dead_letters = self._tombstones = 0
        self._duplicates = 0
        self._gaps: list[Gap] = []
        self._since_s: float | None = None
        self.rows = 0
        self.size_bytes = 0

    @property
    def dirty(self) -> bool:
        """Whether there is anything that a commit would record, be it a position alone."""
        return self._since_s is not None

    def age_s(self, now_s: float) -> float:
        """Seconds since the first addition after the last drain; 0 if there was none."""
        return 0.0 if self._since_s is None else max(0.0, now_s - self._since_s)

    def add_rows(self, rows: pa.RecordBatch, duplicates: int) -> None:
        """Rows to keep, and how many were dropped as duplicates beside them."""
        self._duplicates += duplicates
        if rows.num_rows:
            self._batches.append(rows)
            self.rows += rows.num_rows
            self.size_bytes += rows.get_total_buffer_size()

    def add_rejects(self, rejects: pa.RecordBatch, skipped: int, tombstones: int) -> None:
        """Rejects to write; how many were skipped, being written already; tombstones of both."""
        self._dead_letters += rejects.num_rows + skipped
        self._tombstones += tombstones
        if rejects.num_rows:
            self._rejects.append(rejects)
            self.rows += rejects.num_rows
            self.size_bytes += rejects.get_total_buffer_size()

    def advance(self, positions: Mapping[int, int], now_s: float) -> None:
        """All offsets below these were read; a position never goes back."""
        for partition, position in positions.items():
            if position > self.positions.get(partition, -1):
                self.positions[partition] = position
                self.touch(now_s)

    def add_gap(self, gap: Gap, now_s: float) -> None:
        """Note offsets that will never be read, and stand behind them."""
        self.positions[gap.partition] = gap.to_offset
        self.note_gap(gap, now_s)

    def note_gap(self, gap: Gap, now_s: float) -> None:
        """Note offsets of some lanes that will never be read; positions are of all lanes."""
        self._gaps.append(gap)
        self.touch(now_s)

    def drain(self) -> Drained:
        """Take everything out."""
        drained = Drained(
            rows=pa.Table.from_batches(self._batches, self._rows_schema),
            rejects=pa.Table.from_batches(self._rejects, self._rejects_schema),
            positions=dict(self.positions),
            dead_letters=self._dead_letters,
            tombstones=self._tombstones,
            duplicates=self._duplicates,
            gaps=tuple(self._gaps),
            size_bytes=self.size_bytes,
        )
        self._clear()
        return drained

    def touch(self, now_s: float) -> None:
        """There is something that a commit would record."""
        if self._since_s is None:
            self._since_s = now_s
