"""The Arrow types in which the engine holds a table, whoever produced the rows.

Lake and tail meet in a UNION ALL, and each difference of type between them costs a cast of one
side in every query. So both sides use one rule for turning a stored schema into a scanned one.
"""

from __future__ import annotations

import pyarrow as pa


def scan_schema(schema: pa.Schema) -> pa.Schema:
    """`schema` as the engine scans it; applying it twice changes nothing.

    Strings and binaries at the top are views (the engine is faster with them); inside lists, maps
    and structs they stay plain, for there the Parquet reader cannot make views. Large types become
    plain ones, children of lists and maps get Arrow's usual names, metadata is dropped, and which
    column may be null is kept.
    """
    return pa.schema([pa.field(f.name, _top(f.type), nullable=f.nullable) for f in schema])


def _top(kind: pa.DataType) -> pa.DataType:
    plain = _nested(kind)
    if pa.types.is_string(plain):
        return pa.string_view()
    return pa.binary_view() if pa.types.is_binary(plain) else plain


_PLAIN = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}


def _nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        item = pa.field("value", _nested(kind.item_type), nullable=kind.item_field.nullable)
        return pa.map_(_nested(kind.key_type), item)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        child = kind.value_field
        return pa.list_(pa.field("item", _nested(child.type), nullable=child.nullable))
    if pa.types.is_struct(kind):
        children = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([pa.field(c.name, _nested(c.type), nullable=c.nullable) for c in children])
    return _PLAIN.get(kind, kind)
