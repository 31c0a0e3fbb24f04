"""The types that leave the server: what the engine computes with, made plain for every client.

The engine works with string views and may yield other types than it announced; older JDBC
drivers, Grafana and pandas read neither views nor dictionaries. So one function says what a type
becomes, the result is what every schema announces, and each batch is cast to it.
"""

from __future__ import annotations

import pyarrow as pa


def normalized(schema: pa.Schema) -> pa.Schema:
    """`schema` as clients see it: same names, order and nullability, no metadata."""
    return pa.schema([pa.field(f.name, _plain(f.type), nullable=f.nullable) for f in schema])


def without_zones(schema: pa.Schema) -> pa.Schema:
    """`schema` with timestamp columns that have no time zone; casting to them gives UTC."""
    return pa.schema([f.with_type(_unzoned(f.type)) for f in schema])


def _unzoned(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """`batch` with exactly `schema`, which is `normalized` of what the engine announced."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    arrays = [
        column if column.type == field.type else _cast(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    if not arrays:
        return batch
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(column.type):
        column = pa.compute.run_end_decode(column)
    return column if column.type == wanted else column.cast(wanted)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if pa.types.is_nested(kind):
        return _plain_nested(kind)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        key = _plain_field(kind.key_field)
        return pa.map_(key, _plain_field(kind.item_field), keys_sorted=kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if pa.types.is_union(kind):
        return kind
    return pa.list_(_plain_field(kind.value_field))


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _plain(field.type), nullable=field.nullable)
