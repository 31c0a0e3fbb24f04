"""Single filters against made-up bounds: what may match is kept, and nothing else."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from datafusion import col, lit
from datafusion.expr import Expr

from flight_server.lake.prune import needed
from flight_server.lake.snapshot import DataFiles

NAN = float("nan")


def files(kind: pa.DataType, *bounds: tuple[object, object, int | None]) -> DataFiles:
    """Files of ten rows with these (lower, upper, null count) of column `x`."""
    count = len(bounds)
    lower, upper, nulls = zip(*bounds, strict=True)
    return DataFiles.of(
        [f"/{i}" for i in range(count)],
        [f"file:///{i}" for i in range(count)],
        [10] * count,
        [1] * count,
        {
            "x": (
                pa.array(lower, kind),
                pa.array(upper, kind),
                pa.array(nulls, pa.int64()),
            )
        },
    )


NUMBERS = files(pa.int64(), (0, 9, 0), (10, 19, 3), (None, None, None), (None, None, 10))
UNKNOWN_KEPT, ALL_NULL = True, False
x = col("x")


@pytest.mark.parametrize(
    ("expr", "first", "second", "all_null"),
    [
        (x < lit(10), True, True, ALL_NULL),  # inclusive: bounds are never trusted to be strict
        (x < lit(9), True, False, ALL_NULL),
        (x <= lit(10), True, True, ALL_NULL),
        (x > lit(9), True, True, ALL_NULL),
        (x > lit(10), False, True, ALL_NULL),
        (x >= lit(20), False, False, ALL_NULL),
        (x == lit(9), True, False, ALL_NULL),
        (lit(9) < x, True, True, ALL_NULL),
        (lit(10) < x, False, True, ALL_NULL),
        (lit(9) > x, True, False, ALL_NULL),
        (x != lit(5), True, True, True),
        (x.is_null(), False, True, True),
        (x.is_not_null(), True, True, False),
        ((x < lit(5)) | (x > lit(15)), True, True, ALL_NULL),
        ((x < lit(5)) & (x > lit(15)), False, False, ALL_NULL),
        ((x < lit(5)) | (col("y") == lit(1)), True, True, True),
        (~(x < lit(5)), True, True, True),
        (x + lit(1) == lit(100), True, True, True),
        (x == lit(2**63 - 1).cast(pa.int32()), True, True, True),
        (x == lit("5"), True, True, True),
        (x == col("x"), True, True, True),
        (lit(False), True, True, True),
    ],
)
def test_a_filter_keeps_what_may_match(
    expr: Expr, first: bool, second: bool, all_null: bool
) -> None:
    assert needed(NUMBERS, [[expr]]).to_pylist() == [first, second, UNKNOWN_KEPT, all_null]


def test_all_filters_of_an_entry_and_any_entry_must_be_met() -> None:
    low, high = x < lit(5), x > lit(15)

    assert needed(NUMBERS, [[low, high]]).to_pylist() == [False, False, True, False]
    assert needed(NUMBERS, [[low], [high]]).to_pylist() == [True, True, True, False]
    assert needed(NUMBERS, [[low], []]).to_pylist() == [True] * 4


def test_numbers_that_are_not_a_number_are_above_every_bound() -> None:
    ratios = files(pa.float64(), (0.0, 9.0, 0), (10.0, 19.0, 0), (-0.0, 0.0, 0))

    assert needed(ratios, [[x > lit(100.0)]]).to_pylist() == [True, True, True]
    assert needed(ratios, [[x == lit(15.0)]]).to_pylist() == [True, True, True]
    assert needed(ratios, [[x < lit(5.0)]]).to_pylist() == [True, False, True]
    assert needed(ratios, [[x < lit(0.0)]]).to_pylist() == [True, False, True]
    assert needed(ratios, [[x < lit(NAN)]]).to_pylist() == [True, True, True]
    assert needed(ratios, [[x == lit(NAN)]]).to_pylist() == [True, True, True]


def test_a_cut_text_is_compared_inclusively() -> None:
    texts = files(pa.string(), ("BTC-abcdefghijkl", "BTC-abcdefghijkm", 0), ("ETH", "ETH", 0))

    assert needed(texts, [[x == lit("BTC-abcdefghijkl-and-more")]]).to_pylist() == [True, False]
    assert needed(texts, [[x < lit("BTC-abcdefghijkl")]]).to_pylist() == [True, False]
    assert needed(texts, [[x > lit("ETH")]]).to_pylist() == [False, True]


def test_a_literal_that_does_not_fit_the_column_keeps_everything() -> None:
    prices = files(pa.decimal128(18, 8), (Decimal(1), Decimal(2), 0))

    def literal(value: str, kind: pa.DataType) -> Expr:
        return Expr.literal(pa.scalar(Decimal(value), kind))

    exact = literal("5.00", pa.decimal128(10, 2))
    finer = literal("5.000000000001", pa.decimal128(30, 12))

    assert needed(prices, [[x == exact]]).to_pylist() == [False]
    assert needed(prices, [[x == finer]]).to_pylist() == [True]


def test_times_with_and_without_a_zone_are_not_compared() -> None:
    at = pa.array([5], pa.int64()).view(pa.timestamp("us", tz="UTC"))[0]
    times = files(pa.timestamp("us", tz="UTC"), (at.as_py(), at.as_py(), 0))

    def later(kind: pa.DataType) -> Expr:
        return Expr.literal(pa.scalar(9, pa.int64()).cast(kind))

    assert needed(times, [[x == later(pa.timestamp("us", tz="UTC"))]]).to_pylist() == [False]
    assert needed(times, [[x == later(pa.timestamp("us", tz="Europe/Berlin"))]]).to_pylist() == [
        False
    ]
    assert needed(times, [[x == later(pa.timestamp("us"))]]).to_pylist() == [True]


def test_deep_filters_are_not_followed_to_the_end() -> None:
    deep = x == lit(100)
    for i in range(60):
        deep = (deep & (x != lit(-1))) | (x == lit(200 + i)) if i % 2 else deep | (x == lit(300))

    assert needed(NUMBERS, [[deep]]).to_pylist()[2] is True


def test_no_files_need_no_files() -> None:
    none = NUMBERS.take(pa.array([False] * 4))

    assert len(none) == 0
    assert needed(none, [[x < lit(5)]]).to_pylist() == []
    assert len(DataFiles.concat([none, none]).take(needed(none, None))) == 0
