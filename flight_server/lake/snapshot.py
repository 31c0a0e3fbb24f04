"""What one snapshot of a lake table holds, as values: which files, which rows of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.marker import Marker
    from flight_server.lake.foreign import ForeignRows

_FILE_FIELDS = (
    pa.field("path", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("rows", pa.int64(), nullable=False),
    pa.field("size_bytes", pa.int64(), nullable=False),
)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnBounds:
    """What the manifests know of one column, one entry per file; null means unknown.

    `lower` and `upper` enclose all values that are neither null nor NaN; texts may be cut, so they
    enclose, they need not occur. Their type is the column's, texts as plain strings.
    """

    lower: pa.ChunkedArray
    upper: pa.ChunkedArray
    null_count: pa.ChunkedArray


@dataclass(frozen=True, slots=True, eq=False)
class DataFiles:
    """Data files as columns, one row per file.

    `table` has path (as in the manifest), url (for the engine), rows, size_bytes, and for each
    column with bounds a triple that `bounds()` returns.
    """

    table: pa.Table

    @classmethod
    def empty(cls) -> DataFiles:
        """No files."""
        return cls(pa.schema(_FILE_FIELDS).empty_table())

    @classmethod
    def of(
        cls,
        paths: Sequence[str],
        urls: Sequence[str],
        rows: Sequence[int],
        sizes_bytes: Sequence[int],
        bounds: Mapping[str, tuple[pa.Array, pa.Array, pa.Array]],
    ) -> DataFiles:
        """Files from parallel sequences; `bounds` is column -> (lower, upper, null count)."""
        fields = list(_FILE_FIELDS)
        columns = [paths, urls, rows, sizes_bytes]
        for column, arrays in bounds.items():
            named = zip(_bound_names(column), arrays, strict=True)
            fields.extend(pa.field(name, array.type) for name, array in named)
            columns.extend(arrays)
        return cls(pa.table(columns, schema=pa.schema(fields)))

    @classmethod
    def concat(cls, parts: Sequence[DataFiles]) -> DataFiles:
        """All files of `parts`, which were made for the same columns; one chunk per column."""
        if not parts:
            return cls.empty()
        return cls(pa.concat_tables([p.table for p in parts]).combine_chunks())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def paths(self) -> pa.ChunkedArray:
        """Paths as the manifests have them."""
        return self.table["path"]

    @property
    def urls(self) -> pa.ChunkedArray:
        """URLs for the engine."""
        return self.table["url"]

    @property
    def sizes_bytes(self) -> pa.ChunkedArray:
        """Sizes as the manifests have them."""
        return self.table["size_bytes"]

    @property
    def rows(self) -> pa.ChunkedArray:
        """Rows per file."""
        return self.table["rows"]

    @property
    def rows_total(self) -> int:
        """Rows of all files."""
        return int(pc.sum(self.rows).as_py() or 0)

    @property
    def size_bytes_total(self) -> int:
        """Bytes of all files."""
        return int(pc.sum(self.sizes_bytes).as_py() or 0)

    def bounds(self, column: str) -> ColumnBounds | None:
        """What is known of `column`, or None if nothing is."""
        lower, upper, null_count = _bound_names(column)
        if lower not in self.table.schema.names:
            return None
        return ColumnBounds(self.table[lower], self.table[upper], self.table[null_count])

    def take(self, mask: pa.BooleanArray) -> DataFiles:
        """The files whose entry in `mask` is true, in the same order."""
        return self if pc.all(mask).as_py() else DataFiles(self.table.filter(mask))


def _bound_names(column: str) -> tuple[str, str, str]:
    return f"lower:{column}", f"upper:{column}", f"null_count:{column}"


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot of the table's ancestry, for people."""

    snapshot_id: int
    parent_id: int | None
    sequence_number: int  # of the table's snapshots in the order of their commits; 0 = unknown
    committed_at_ms: int
    operation: str
    summary: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class LakeSnapshot:
    """One pinned state of a lake table; everything a statement needs to read it.

    `snapshot_id` is None for a table to which nothing was committed. `marker` is the one of the
    newest commit of ours among the ancestors, so it may be older than the head (compaction,
    foreign commit); `commit_id` is the marker's. `refused` says why the files cannot be read
    exactly; then `files` is empty and a statement that names the table fails with that text.
    `foreign`: the rows that no log has; None if they cannot be told apart.
    """

    table: str
    table_uuid: str
    metadata_location: str
    snapshot_id: int | None
    parent_id: int | None
    schema_id: int
    committed_at_ms: int | None
    arrow_schema: pa.Schema
    files: DataFiles
    marker: Marker | None
    refused: str | None
    ancestry: tuple[SnapshotInfo, ...] = field(default=())
    foreign: ForeignRows | None = None

    @property
    def commit_id(self) -> str | None:
        """Id of the newest commit of ours that this snapshot holds."""
        return None if self.marker is None else self.marker.commit_id

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return self.files.rows_total
