"""Bounds are decoded as the writer meant them; what does not fit is unknown."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.conversions import to_bytes
from pyiceberg.types import DecimalType, LongType, StringType, TimestamptzType

from flight_server.lake.bounds import bounds_type, decode_bounds

if TYPE_CHECKING:
    from decimal import Decimal

UTC_US = pa.timestamp("us", tz="UTC")


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_longs_are_read_back(values: list[int | None]) -> None:
    stored = [None if v is None else to_bytes(LongType(), v) for v in values]

    assert decode_bounds(pa.int64(), stored).to_pylist() == values


@given(st.lists(st.none() | st.decimals(-(10**9), 10**9, places=8)))
def test_decimals_are_read_back(values: list[Decimal | None]) -> None:
    stored = [None if v is None else to_bytes(DecimalType(18, 8), v) for v in values]

    assert decode_bounds(pa.decimal128(18, 8), stored).to_pylist() == values


@given(st.lists(st.none() | st.text(max_size=20)))
def test_texts_are_read_back(values: list[str | None]) -> None:
    stored = [None if v is None else to_bytes(StringType(), v) for v in values]

    assert decode_bounds(pa.string(), stored).to_pylist() == values


def test_times_are_read_back() -> None:
    at = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)

    decoded = decode_bounds(UTC_US, [to_bytes(TimestamptzType(), at), None])

    assert decoded.to_pylist() == [at, None]
    assert decoded.type == UTC_US


@pytest.mark.parametrize(
    ("kind", "stored", "value"),
    [
        (pa.int64(), b"\x05\x00\x00\x00", 5),  # written when the column was an int
        (pa.float64(), b"\x00\x00\x80\x3f", 1.0),  # ... a float
        (pa.float32(), b"\x00\x00\x80\x3f", 1.0),
        (pa.date32(), b"\x01\x00\x00\x00", dt.date(1970, 1, 2)),
        (pa.int32(), bytes(8), None),
        (pa.int64(), b"\x05", None),
        (pa.string(), b"\xff\xfe", None),
        (pa.decimal128(4, 2), (10**6).to_bytes(4, "big"), None),
    ],
)
def test_a_bound_of_another_width_is_widened_or_unknown(
    kind: pa.DataType, stored: bytes, value: Any
) -> None:
    assert decode_bounds(kind, [stored, None]).to_pylist() == [value, None]


def test_types_without_useful_bounds_have_none() -> None:
    unused = [pa.bool_(), pa.binary(), pa.list_(pa.string()), pa.timestamp("ns"), pa.time64("us")]

    assert all(bounds_type(kind) is None for kind in unused)
    assert bounds_type(pa.string_view()) == pa.string()
    assert bounds_type(pa.decimal128(18, 8)) == pa.decimal128(18, 8)
