"""The lane of a row: a pure function of the row, the same in both processes."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.table import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from contract.table import LaneRule, TableDefinition


_DIGITS_INT64 = 19
_DIGITS_128 = 38  # of a decimal128
_DIGITS_MAX = 76  # of a decimal256


def lanes_of(definition: TableDefinition, rows: pa.RecordBatch) -> NDArray[np.int8]:
    """The lane of each row, shape (rows,); the first rule that a row meets decides."""
    lanes = np.full(rows.num_rows, Lane.MEDIUM, dtype=np.int8)
    undecided = np.ones(rows.num_rows, dtype=bool)
    for rule in definition.lane_rules:
        met = _met(rule, rows) & undecided
        lanes[met] = rule.lane
        undecided &= ~met
    return lanes


def _met(rule: LaneRule, rows: pa.RecordBatch) -> NDArray[np.bool_]:
    conditions = []
    if rule.column is not None:
        texts = rows.column(rule.column)
        conditions.append(pc.is_in(texts, value_set=pa.array(rule.one_of, texts.type)))
    if rule.product:
        value = _product([rows.column(name) for name in rule.product])
        if rule.at_least is not None:
            conditions.append(pc.greater_equal(value, pa.scalar(rule.at_least, value.type)))
        if rule.below is not None:
            conditions.append(pc.less(value, pa.scalar(rule.below, value.type)))
    all_met = reduce(pc.and_, conditions)
    met: NDArray[np.bool_] = all_met.fill_null(False).to_numpy(zero_copy_only=False)
    return met


def product_type(types: Sequence[pa.DataType]) -> pa.DataType:
    """The decimal type that holds each product of values of these types, exactly.

    Raises:
        ValueError: there is none.
    """
    digits = [_digits(t) for t in types]
    precision = sum(p for p, _ in digits) + len(digits) - 1
    scale = sum(s for _, s in digits)
    if precision > _DIGITS_MAX:
        raise ValueError(f"a product of {precision} digits, more than {_DIGITS_MAX}")
    make = pa.decimal128 if precision <= _DIGITS_128 else pa.decimal256
    return make(precision, scale)


def _product(columns: list[pa.Array]) -> pa.Array:
    """Over decimals, so that a product is never rounded or wrapped."""
    wide = pa.types.is_decimal256(product_type([c.type for c in columns]))
    make = pa.decimal256 if wide else pa.decimal128
    return reduce(pc.multiply, (c.cast(make(*_digits(c.type))) for c in columns))


def _digits(number: pa.DataType) -> tuple[int, int]:
    """Precision and scale of a decimal or 64-bit integer type."""
    if pa.types.is_integer(number):
        return _DIGITS_INT64, 0
    return int(number.precision), int(number.scale)
