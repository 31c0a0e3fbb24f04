"""A table definition in Iceberg's terms: schema with field ids, day partition, properties."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, zip_longest
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)

from contract.errors import OperatorError
from contract.table import DEAD_SCHEMA, TIMESTAMP, TIMESTAMP_TYPE, FileLayout, TableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SCALARS: dict[pa.DataType, IcebergType] = {
    pa.string(): StringType(),
    pa.binary(): BinaryType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.bool_(): BooleanType(),
    TIMESTAMP_TYPE: TimestamptzType(),
}
_PARTITION_FIELD_ID = 1000
RETRIES = "commit.retry.num-retries"
PROPERTIES = {
    # The library's own retry puts a stale writer's rows on top of a newer head.
    RETRIES: "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.metrics.default": "truncate(64)",
    # A compaction may run beside appends: both of them only add or replace whole files.
    "write.delete.isolation-level": "snapshot",
    "write.update.isolation-level": "snapshot",
}


@dataclass(frozen=True)
class TableShape:
    """One Iceberg table as it is made: the rows' or the dead letters'."""

    name: str
    columns: pa.Schema
    day_of: str  # the timestamp column whose day is the partition
    layout: FileLayout
    docs: Mapping[str, str] = field(default_factory=dict)


def rows_shape(definition: TableDefinition) -> TableShape:
    """The table of the rows."""
    docs = {c.name: c.doc for c in definition.columns if c.doc}
    return TableShape(
        definition.name, definition.stored_schema, definition.event_time, definition.layout, docs
    )


def dead_shape(definition: TableDefinition) -> TableShape:
    """The table of the dead letters."""
    layout = FileLayout(row_group_rows=16_384, dictionary=("topic",))
    return TableShape(definition.dead_name, DEAD_SCHEMA, TIMESTAMP, layout)


def iceberg_schema(shape: TableShape) -> Schema:
    """The schema, with field ids counted from 1 in the order that Iceberg gives them."""
    ids = count(1)
    top = [next(ids) for _ in shape.columns]
    fields = [
        NestedField(
            field_id=field_id,
            name=column.name,
            field_type=_iceberg_type(column.type, ids),
            required=not column.nullable,
            doc=shape.docs.get(column.name),
        )
        for field_id, column in zip(top, shape.columns, strict=True)
    ]
    return Schema(*fields)


def partition_spec(shape: TableShape, schema: Schema) -> PartitionSpec:
    """Partitioned by the day of one timestamp."""
    source = schema.find_field(shape.day_of).field_id
    name = f"{shape.day_of}_day"
    return PartitionSpec(PartitionField(source, _PARTITION_FIELD_ID, DayTransform(), name))


def _iceberg_type(kind: pa.DataType, ids: Iterator[int]) -> IcebergType:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_list(kind):
        return ListType(next(ids), _iceberg_type(kind.value_type, ids), element_required=False)
    if pa.types.is_map(kind):
        key_id, value_id = next(ids), next(ids)
        key, value = _iceberg_type(kind.key_type, ids), _iceberg_type(kind.item_type, ids)
        return MapType(key_id, key, value_id, value, value_required=False)
    raise OperatorError(f"a column of type {kind} cannot be stored")


def check_same(shape: TableShape, schema: Schema, spec: PartitionSpec, table: str) -> None:
    """OperatorError, naming the first difference, if an existing table is not of this shape."""
    wanted = [_text(f) for f in iceberg_schema(shape).fields]
    found = [_text(f) for f in schema.fields]
    for mine, theirs in zip_longest(wanted, found, fillvalue="nothing"):
        if mine != theirs:
            raise _differs(table, f"it has {theirs} where the definition has {mine}")
    sources = [schema.find_column_name(f.source_id) for f in spec.fields]
    days = all(isinstance(f.transform, DayTransform) for f in spec.fields)
    if sources != [shape.day_of] or not days:
        raise _differs(table, f"it is not partitioned by the day of {shape.day_of!r} alone")


def _differs(table: str, how: str) -> OperatorError:
    return OperatorError(
        f"table {table} does not fit its definition: {how}; correct the definition, or take "
        "another table name"
    )


def _text(column: NestedField) -> str:
    need = "required" if column.required else "optional"
    return f"column {column.name!r} ({need} {_type_text(column.field_type)})"


def _type_text(kind: IcebergType) -> str:
    """The type in words, without the field ids of what is nested in it."""
    if isinstance(kind, ListType):
        return f"list<{_type_text(kind.element_type)}>"
    if isinstance(kind, MapType):
        return f"map<{_type_text(kind.key_type)},{_type_text(kind.value_type)}>"
    return str(kind)
