"""The lane of a row: a pure function of the row, the same in both processes."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.table import Lane

if TYPE_CHECKING:
    from decimal import Decimal

    from numpy.typing import NDArray

    from contract.table import LaneRule, TableDefinition


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
        value = reduce(pc.multiply, (_exact(rows.column(name)) for name in rule.product))
        if rule.at_least is not None:
            conditions.append(pc.greater_equal(value, _bound(rule.at_least)))
        if rule.below is not None:
            conditions.append(pc.less(value, _bound(rule.below)))
    all_met = reduce(pc.and_, conditions)
    met: NDArray[np.bool_] = all_met.fill_null(False).to_numpy(zero_copy_only=False)
    return met


def _exact(column: pa.Array) -> pa.Array:
    """Integers as decimals, so that a product is exact or an error, never rounded or wrapped."""
    return column.cast(pa.decimal128(19, 0)) if pa.types.is_integer(column.type) else column


def _bound(value: Decimal) -> pa.Scalar:
    return pa.scalar(value)
