"""Types of a statement's placeholders, as the engine inferred them.

The engine has no call that tells them as Arrow types, so they are read from its description of
the plan, in which quotes inside texts are escaped. Where it knows none (a bare `SELECT $1`, most
subqueries) a placeholder is text, which every client can bind and the engine casts.
"""

from __future__ import annotations

import re

import pyarrow as pa

from flight_server.protocol.placeholders import names

_TYPED = re.compile(
    r'Placeholder \{ id: "(\$\w+)", field: Some\(Field \{ name: "(?:[^"\\]|\\.)*", '
    r"data_type: ([^{}]*?), nullable"
)
_COUNT = re.compile(r'(?:skip|fetch): Some\(Placeholder\(Placeholder \{ id: "(\$\w+)"')
_TIMESTAMP = re.compile(r'Timestamp\((\w+), (?:None|Some\("([^"]*)"\))\)')
_DECIMAL = re.compile(r"Decimal128\((\d+), (\d+)\)")

_UNITS = {"Second": "s", "Millisecond": "ms", "Microsecond": "us", "Nanosecond": "ns"}
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


def parameter_schema(sql: str, plan_text: str) -> pa.Schema:
    """The placeholders of `sql` in their order: fields `$1`, `$2`, …, nullable.

    `plan_text`: the engine's description of the logical plan.
    """
    types = {name: _arrow_type(text) for name, text in _TYPED.findall(plan_text)}
    types.update((name, pa.int64()) for name in _COUNT.findall(plan_text))
    ids = sorted(set(names(sql)), key=lambda name: (len(name), name))
    return pa.schema([pa.field(name, types.get(name, pa.string())) for name in ids])


def _arrow_type(text: str) -> pa.DataType:
    if found := _TIMESTAMP.fullmatch(text):
        return pa.timestamp(_UNITS[found[1]], tz=found[2])
    if found := _DECIMAL.fullmatch(text):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _SIMPLE.get(text, pa.string())
