"""Arrow columns of the tail: strings as views, and the few operations that pyarrow lacks on them.

The engine reads Parquet strings as string_view, so the tail holds the same type and the union of
both needs no cast. pyarrow has no filter for string_view; a view is 16 bytes, so the views are
filtered as fixed-size binary and keep the data buffers they point into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from contract.table import DEAD_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from contract.table import TableDefinition

_VIEW = pa.string_view()
_VIEW_BYTES = pa.binary(16)
_INLINE_BYTES = 12  # a string of up to so many bytes stands in its view


def _viewed(schema: pa.Schema) -> pa.Schema:
    """Top-level strings become views; binary and nested types stay as they are."""
    return pa.schema([f.with_type(_VIEW) if f.type == pa.string() else f for f in schema])


def tail_schema(definition: TableDefinition) -> pa.Schema:
    """Schema of the tail's rows: equal to what the engine's scan of the lake yields."""
    return _viewed(definition.stored_schema)


DEAD_TAIL_SCHEMA = _viewed(DEAD_SCHEMA)


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """A batch of that schema without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def as_views(batch: pa.RecordBatch, schema: pa.Schema, *, compact: bool = False) -> pa.RecordBatch:
    """`batch` with its strings as views, as `schema`; string data is shared, not copied.

    `compact` leaves out data buffers that no view points into, because every value is inline.
    """
    columns = [
        _as_view(c, compact) if f.type == _VIEW else c
        for c, f in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as_view(column: pa.Array, compact: bool) -> pa.Array:
    views = column if column.type == _VIEW else column.cast(_VIEW)
    if not compact or len(column) == 0:
        return views
    if (pc.max(pc.binary_length(column)).as_py() or 0) > _INLINE_BYTES:
        return views
    return pa.Array.from_buffers(
        _VIEW, len(views), views.buffers()[:2], views.null_count, views.offset
    )


def as_strings(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with plain strings; string data is copied."""
    schema = pa.schema([f.with_type(pa.string()) if f.type == _VIEW else f for f in batch.schema])
    columns = [c.cast(pa.string()) if c.type == _VIEW else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def filter_rows(batch: pa.RecordBatch, mask: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows where `mask` is true, shape (rows,); views keep their data buffers."""
    chosen = pa.array(mask)
    columns = [
        _filter_views(c, chosen) if c.type == _VIEW else c.filter(chosen) for c in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _filter_views(column: pa.Array, mask: pa.Array) -> pa.Array:
    validity, views, *data = column.buffers()
    fixed = pa.Array.from_buffers(
        _VIEW_BYTES, len(column), [validity, views], column.null_count, column.offset
    ).filter(mask)
    kept = fixed.buffers()
    return pa.Array.from_buffers(
        _VIEW, len(fixed), [kept[0], kept[1], *data], fixed.null_count, fixed.offset
    )


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All rows in one batch; an empty batch costs nothing."""
    full = [b for b in batches if b.num_rows] or list(batches[:1])
    return full[0] if len(full) == 1 else pa.concat_batches(full)


def integers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """A column of integers or timestamps without nulls, shape (rows,), without a copy."""
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    values: NDArray[np.int64] = column.to_numpy()
    return values
