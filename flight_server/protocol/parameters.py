"""Bound parameters: the uploaded batches -> one scalar for each placeholder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from contract.errors import LimitError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def bind(
    parameters: pa.Schema, batches: Iterable[pa.RecordBatch], *, rows_max: int, bytes_max: int
) -> tuple[dict[str, pa.Scalar], ...]:
    """The values of each row in `batches`, by the names of `parameters`; a batch may be empty.

    All batches are read, also when they are refused: an upload that is cut short shows the client
    a broken stream instead of the reason. RequestError for a wrong number of columns, LimitError
    above a bound.
    """
    kept: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        rows += batch.num_rows
        size_bytes += batch.nbytes if batch.num_rows else 0
        if batch.num_rows and rows <= rows_max and size_bytes <= bytes_max:
            kept.append(batch)
    if rows > rows_max:
        raise LimitError(f"{rows} parameter rows are bound; the most is {rows_max}")
    if size_bytes > bytes_max:
        raise LimitError(f"the bound values have {size_bytes} bytes; the most is {bytes_max}")
    return tuple(row for batch in kept for row in _rows(parameters, batch))


def _rows(parameters: pa.Schema, batch: pa.RecordBatch) -> Iterator[dict[str, pa.Scalar]]:
    if batch.num_columns != len(parameters):
        raise RequestError(
            f"the statement has {len(parameters)} parameters and {batch.num_columns} are bound"
        )
    names = batch.schema.names
    by_name = len(set(names)) == len(names) and set(names) == set(parameters.names)
    order = [names.index(field.name) if by_name else i for i, field in enumerate(parameters)]
    for row in range(batch.num_rows):
        yield {
            field.name: _value(batch.column(order[position])[row], field)
            for position, field in enumerate(parameters)
        }


def _value(scalar: pa.Scalar, parameter: pa.Field) -> pa.Scalar:
    """The value out of unions and dictionaries, as a typed null when it is null."""
    while isinstance(scalar, pa.UnionScalar):
        scalar = scalar.value
    if isinstance(scalar, pa.ExtensionScalar):
        scalar = pa.scalar(None, scalar.type.storage_type) if not scalar.is_valid else scalar.value
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.cast(scalar.type.value_type)
    if scalar is None or pa.types.is_null(scalar.type):
        return pa.scalar(None, parameter.type)
    return scalar
