"""What one partition of a table holds, by itself: once, below the marker, claimed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.lanes import lanes_of
from highwater.verify.findings import Finding, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contract.decode import Decoder
    from contract.marker import NextByLane
    from contract.table import TableDefinition
    from highwater.verify.claims import Claims
    from highwater.verify.findings import Ledger

FILE = "__file"  # beside the stored columns: index of the row's file among the entries


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all partitions.

    `rules_hold`: the definition's rules are those of the marker; else rows can't be told by lane
    nor duplicates be recognised. `compacted`: the log may have lost messages that the table has.
    """

    definition: TableDefinition
    decoder: Decoder
    rows_table: str
    dead_table: str
    rows_claims: Claims
    dead_claims: Claims
    rules_hold: bool
    compacted: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows of one table in a range, by ascending offset. `files`: index of each row's file."""

    rows: pa.Table
    offsets: NDArray[np.int64]
    files: NDArray[np.int64]


class StoredCheck:
    """What holds for stored rows whatever the log says; ranges come in ascending order."""

    def __init__(
        self, setting: Setting, partition: int, next_by_lane: NextByLane, ledger: Ledger
    ) -> None:
        self._setting = setting
        self._partition = partition
        self._next = np.array(next_by_lane, np.int64)
        self._ledger = ledger

    def once(self, rows: Stored, dead: Stored) -> tuple[Stored, Stored]:
        """Each offset once; those that are there more often are findings."""
        setting = self._setting
        unique_rows = self._unique(setting.rows_table, rows)
        unique_dead = self._unique(setting.dead_table, dead)
        both = np.intersect1d(unique_rows.offsets, unique_dead.offsets)
        text = "is a row and a dead letter: one of them is wrong; the log tells which"
        self.find("offsets.once", setting.rows_table, both, text)
        return unique_rows, unique_dead

    def _unique(self, table: str, stored: Stored) -> Stored:
        offsets, first = np.unique(stored.offsets, return_index=True)
        if len(offsets) == len(stored.offsets):
            return stored
        again = np.ones(len(stored.offsets), bool)
        again[first] = False
        doubled = stored.offsets[again]
        for file in np.unique(stored.files[again]).tolist():
            mine = doubled[stored.files[again] == file]
            text = "is there more than once: queries count it twice; delete the other row"
            self.find("offsets.once", table, np.unique(mine), text, file)
        return Stored(stored.rows.take(pa.array(first)), offsets, stored.files[first])

    def lanes(self, rows: pa.Table) -> NDArray[np.int8]:
        """The lane of each row; all the same where the rules are not known."""
        if not self._setting.rules_hold or not rows.num_rows:
            return np.zeros(rows.num_rows, np.int8)
        return lanes_of(self._setting.definition, _batch(rows))

    def check_stored(self, rows: Stored, lanes: NDArray[np.int8], dead: Stored) -> None:
        """Below the marker, and in the claims of their files."""
        setting = self._setting
        limit = self._next[lanes] if setting.rules_hold else self._next.max()
        beyond = rows.offsets >= limit  # of its lane; what is beyond all lanes is found elsewhere
        text = (
            "is in the table and beyond the marker: the next sidecar reads it again and doubles "
            "it; put the marker of its commit back"
        )
        between = beyond & (rows.offsets < self._next.max())
        self.find("marker.behind", setting.rows_table, rows.offsets[between], text)
        below = ~beyond
        setting.rows_claims.check_rows(
            self._partition,
            rows.offsets[below],
            lanes[below],
            rows.files[below],
            self._ledger,
        )
        no_lane = np.zeros(len(dead.offsets), np.int8)
        setting.dead_claims.check_rows(
            self._partition, dead.offsets, no_lane, dead.files, self._ledger
        )

    def find(
        self,
        check: str,
        table: str,
        offsets: NDArray[np.int64],
        text: str,
        file: int | None = None,
        stored: Stored | None = None,
    ) -> None:
        """Findings for these offsets, neighbours as one; `stored` tells their file."""
        setting = self._setting
        claims = setting.rows_claims if table == setting.rows_table else setting.dead_claims
        for start, end in runs(offsets):
            found = file
            if stored is not None:
                found = int(stored.files[np.searchsorted(stored.offsets, start)])
            name, snapshot_id = claims.file(found)
            place = (
                f"offset {start}" if end == start + 1 else f"each of offsets {start} to {end - 1}"
            )
            self._ledger.add(
                Finding(
                    check,
                    table,
                    f"{place} {text}",
                    partition=self._partition,
                    from_offset=start,
                    to_offset=end,
                    file=name,
                    snapshot_id=snapshot_id,
                )
            )


def _batch(rows: pa.Table) -> pa.RecordBatch:
    return rows.combine_chunks().to_batches()[0]
