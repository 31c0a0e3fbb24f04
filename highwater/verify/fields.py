"""Columns of a data file by Iceberg's field ids: whose file it is, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow

from contract.table import OFFSET, PARTITION

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from pyiceberg.table import Table

_FIELD_ID = b"PARQUET:field_id"


class FieldError(ValueError):
    """A file whose columns are not this table's; the text says which."""


class TableFields:
    """The fields that one table has or ever had."""

    def __init__(self, table: Table, name: str) -> None:
        self._name = name
        self._ids = {f.name: f.field_id for f in table.schema().fields}
        self._known: dict[int, set[tuple[str, str]]] = {}
        for schema in table.schemas().values():
            types = schema_to_pyarrow(schema, include_field_ids=False)
            for field in schema.fields:
                text = _text(types.field(field.name).type)
                self._known.setdefault(field.field_id, set()).add((field.name, text))

    def columns(self, found: pa.Schema) -> dict[str, str]:
        """Name of a present field -> name of its column in a file, as far as it has them.

        Raises:
            FieldError: a column has no field id, or one that this table never had under its name
                and type; or partition and offset are not there.
        """
        columns: dict[int, str] = {}
        for column in found:
            raw = (column.metadata or {}).get(_FIELD_ID)
            field_id = -1 if raw is None else int(raw)
            if (column.name, _text(column.type)) not in self._known.get(field_id, ()):
                raise FieldError(
                    f"its column {column.name!r} (field id {field_id}, {_text(column.type)}) is "
                    f"none of table {self._name}: it is a file of another table; remove it, and "
                    "restore the right one"
                )
            columns[field_id] = column.name
        present = {name: columns[i] for name, i in self._ids.items() if i in columns}
        for wanted in (PARTITION, OFFSET):
            if wanted not in present:
                raise FieldError(f"it has no column {wanted}: it is no file of {self._name}")
        return present


def read_as(
    file: pq.ParquetFile, group: int, columns: dict[str, str], schema: pa.Schema
) -> pa.Table:
    """One row group in the columns of `schema`; those that the file does not have are null."""
    read = file.read_row_group(
        group, columns=[columns[f.name] for f in schema if f.name in columns]
    )
    arrays = []
    for field in schema:
        if field.name not in columns:
            arrays.append(pa.nulls(read.num_rows, field.type))
            continue
        column = read.column(columns[field.name])
        arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _text(kind: pa.DataType) -> str:
    """The type without the differences that writers may make."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_text(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_text(kind.key_type)}, {_text(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return "struct<{}>".format(", ".join(f"{f.name}: {_text(f.type)}" for f in kind))
    if pa.types.is_timestamp(kind):
        return f"timestamp[{kind.unit}]" + ("" if kind.tz is None else " UTC")
    return str(kind).removeprefix("large_")
