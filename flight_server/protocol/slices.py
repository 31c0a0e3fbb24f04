"""Cut record batches to a size that every client accepts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


def slices(
    batch: pa.RecordBatch, *, rows_max: int, bytes_max: int, row_bytes_max: int
) -> Iterator[pa.RecordBatch]:
    """The rows of `batch` in order, in views of at most `rows_max` rows and `bytes_max` bytes.

    A single row may be larger than `bytes_max`, up to `row_bytes_max`: LimitError above it.
    Batches without rows give nothing.
    """
    pending = [batch] if batch.num_rows else []
    while pending:
        part = pending.pop()
        if part.num_rows <= rows_max and part.nbytes <= bytes_max:
            yield part
        elif part.num_rows == 1:
            _check_row(part, row_bytes_max)
            yield part
        else:
            pending.extend(reversed(_split(part, rows_max, bytes_max)))


def _split(part: pa.RecordBatch, rows_max: int, bytes_max: int) -> list[pa.RecordBatch]:
    """Equal shares that would fit if all rows were alike; at least two of them."""
    fitting = part.num_rows * bytes_max // max(1, part.nbytes)
    share = max(1, min(rows_max, fitting, (part.num_rows + 1) // 2))
    return [part.slice(at, share) for at in range(0, part.num_rows, share)]


def _check_row(row: pa.RecordBatch, row_bytes_max: int) -> None:
    if row.nbytes <= row_bytes_max:
        return
    widest = max(range(row.num_columns), key=lambda index: row.column(index).nbytes)
    raise LimitError(
        f"one row has {row.nbytes} bytes and a client can take {row_bytes_max}; the largest "
        f"column is {row.schema.field(widest).name!r}: select less of it"
    )
