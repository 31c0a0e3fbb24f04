"""Bound parameters: the uploaded batches -> one scalar for each placeholder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from contract.errors import LimitError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable


def bind(
    parameters: pa.Schema, batches: Iterable[pa.RecordBatch], bytes_max: int
) -> dict[str, pa.Scalar] | None:
    """The values of the one row in `batches`, by the names of `parameters`; None without rows.

    All batches are read, also when they are refused: an upload that is cut short shows the client
    a broken stream instead of the reason. RequestError for several rows or a wrong number of
    columns, LimitError above `bytes_max`.
    """
    row: pa.RecordBatch | None = None
    rows = 0
    for batch in batches:
        if batch.num_rows and row is None:
            row = batch.slice(0, 1)
        rows += batch.num_rows
    if row is None:
        return None
    if rows > 1:
        raise RequestError(
            f"{rows} parameter rows are bound and a query takes one: all its rows come from one "
            "cut of the data, so run it once for each parameter row"
        )
    if row.nbytes > bytes_max:
        raise LimitError(f"the bound values have {row.nbytes} bytes; the most is {bytes_max}")
    if row.num_columns != len(parameters):
        raise RequestError(
            f"the statement has {len(parameters)} parameters and {row.num_columns} are bound"
        )
    return _by_name_or_position(parameters, row)


def _by_name_or_position(parameters: pa.Schema, row: pa.RecordBatch) -> dict[str, pa.Scalar]:
    names = row.schema.names
    by_name = len(set(names)) == len(names) and set(names) == set(parameters.names)
    return {
        field.name: _value(row.column(names.index(field.name) if by_name else position), field)
        for position, field in enumerate(parameters)
    }


def _value(column: pa.Array, parameter: pa.Field) -> pa.Scalar:
    """The value of `column`, out of unions and dictionaries, as a typed null when it is null."""
    scalar = column[0]
    while isinstance(scalar, pa.UnionScalar):
        scalar = scalar.value
    if isinstance(scalar, pa.ExtensionScalar):
        scalar = pa.scalar(None, scalar.type.storage_type) if not scalar.is_valid else scalar.value
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.cast(scalar.type.value_type)
    if scalar is None or pa.types.is_null(scalar.type):
        return pa.scalar(None, parameter.type)
    return scalar
