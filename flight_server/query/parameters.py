"""Types of a statement's placeholders, as the engine inferred them.

The engine has no call that tells them as Arrow types, so they are read from its descriptions of
the plan, in which quotes inside texts are escaped. The optimized plan shows subqueries as joins,
and what the engine would cast a placeholder to. Where neither tells (a bare `SELECT $1`) it is
text, which every client can bind and the engine casts.

Times have milliseconds, whatever their column has: the JDBC driver (18.3.0) writes the number of
milliseconds into a vector of any unit. Clients that bind values of their own type lose nothing.
"""

from __future__ import annotations

import re

import pyarrow as pa

from flight_server.protocol.placeholders import names

_TYPED = re.compile(
    r'Placeholder \{ id: "(\$\w+)", field: Some\(Field \{ name: "(?:[^"\\]|\\.)*", '
    r"data_type: ([^{}]*?), nullable"
)
_CAST = re.compile(
    r'Cast \{ expr: Placeholder\(Placeholder \{ id: "(\$\w+)", field: None \}\), '
    r'field: Field \{ name: "(?:[^"\\]|\\.)*", data_type: ([^{}]*?), nullable'
)
_COUNT = re.compile(r'(?:skip|fetch): Some\(Placeholder\(Placeholder \{ id: "(\$\w+)"')
_TIMESTAMP = re.compile(r'Timestamp\(\w+, (?:None|Some\("([^"]*)"\))\)')
_TIME = re.compile(r"Time(?:32|64)\(\w+\)")
_DECIMAL = re.compile(r"Decimal128\((\d+), (\d+)\)")

_SIMPLE = {
    "Boolean": pa.bool_(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "UInt8": pa.int16(),
    "UInt16": pa.int32(),
    "UInt32": pa.int64(),
    "UInt64": pa.int64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Date32": pa.date32(),
    "Binary": pa.binary(),
    "BinaryView": pa.binary(),
}


def parameter_schema(sql: str, *plan_texts: str) -> pa.Schema:
    """The placeholders of `sql` in their order: fields `$1`, `$2`, …, nullable.

    `plan_texts`: the engine's descriptions of the logical plan; an earlier one has precedence.
    """
    types: dict[str, pa.DataType] = {}
    for text in plan_texts:
        for name in _COUNT.findall(text):
            types.setdefault(name, pa.int64())
        for found in (*_TYPED.findall(text), *_CAST.findall(text)):
            types.setdefault(found[0], _arrow_type(found[1]))
    ids = sorted(set(names(sql)), key=lambda name: (len(name), name))
    return pa.schema([pa.field(name, types.get(name, pa.string())) for name in ids])


def _arrow_type(text: str) -> pa.DataType:
    if found := _TIMESTAMP.fullmatch(text):
        return pa.timestamp("ms", tz=found[1])
    if _TIME.fullmatch(text):
        return pa.time32("ms")
    if found := _DECIMAL.fullmatch(text):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _SIMPLE.get(text, pa.string())
