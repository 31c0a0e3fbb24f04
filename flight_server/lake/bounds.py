"""Decode the single-value form of Iceberg's column bounds into Arrow arrays.

A bound was written with the type that the column had then: an int that became a long has four
bytes in old files. What does not fit the type of today is unknown (null), and unknown prunes
nothing.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INT32, _INT64, _FLOAT, _DOUBLE = (struct.Struct(f) for f in ("<i", "<q", "<f", "<d"))


def bounds_type(kind: pa.DataType) -> pa.DataType | None:
    """The type in which bounds of a column of `kind` are held, None if they are not used."""
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return pa.string()
    known = (
        pa.types.is_string(kind)
        or pa.types.is_int32(kind)
        or pa.types.is_int64(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_decimal128(kind)
        or pa.types.is_date32(kind)
        or (pa.types.is_timestamp(kind) and kind.unit == "us")
    )
    return kind if known else None


def decode_bounds(kind: pa.DataType, values: Sequence[bytes | None]) -> pa.Array:
    """`values` as an array of `kind`, one of the types of `bounds_type`."""
    if pa.types.is_decimal(kind):
        scale = kind.scale
        decoded: list[Any] = [
            None if v is None else Decimal(int.from_bytes(v, "big", signed=True)).scaleb(-scale)
            for v in values
        ]
        return _decimals(decoded, kind)
    decode = _decoder(kind)
    decoded = [None if v is None else decode(v) for v in values]
    if pa.types.is_timestamp(kind):
        return pa.array(decoded, pa.int64()).view(kind)
    return (
        pa.array(decoded, pa.int32()).view(kind)
        if pa.types.is_date(kind)
        else pa.array(decoded, kind)
    )


def _decoder(kind: pa.DataType) -> Callable[[bytes], Any]:
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_int32(kind) or pa.types.is_date32(kind):
        return lambda v: _unpack(v, _INT32)
    if pa.types.is_float32(kind):
        return lambda v: _unpack(v, _FLOAT)
    if pa.types.is_float64(kind):
        return lambda v: _unpack(v, _DOUBLE, _FLOAT)
    return lambda v: _unpack(v, _INT64, _INT32)


def _unpack(value: bytes, *forms: struct.Struct) -> Any:
    for form in forms:
        if form.size == len(value):
            return form.unpack(value)[0]
    return None


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _decimals(values: list[Decimal | None], kind: pa.DataType) -> pa.Array:
    limit = Decimal(10) ** (kind.precision - kind.scale)
    return pa.array([v if v is not None and abs(v) < limit else None for v in values], kind)
