"""Lanes against an oracle that applies the rules to one row at a time, with Decimal."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.decode import Decoder
from contract.definition import parse_definition
from contract.lanes import lanes_of, product_type
from contract.table import Lane, LaneRule, TableDefinition
from tests.support.strategies import TRADES, raw_batch, trade_bytes

HEAD = """
name = "orders"
topic = "orders"
message_id = "id"
event_time = "at"
columns = [
    {name = "id", type = "string", required = true},
    {name = "at", type = "timestamp", required = true},
    {name = "venue", type = "string"},
    {name = "price", type = "decimal(18,8)"},
    {name = "quantity", type = "decimal(18,8)"},
    {name = "factor", type = "decimal(4,2)"},
    {name = "lots", type = "long"},
    {name = "size", type = "long"},
]
"""

RULES = [
    '{lane = "LOW", column = "venue", in = ["test", "demo"]}',
    '{lane = "HIGH", product = ["price", "quantity"], at_least = "100000"}',
    '{lane = "HIGH", product = ["lots", "size"], at_least = 1_000_000}',
    '{lane = "LOW", product = ["price", "quantity"], below = "10"}',
    '{lane = "MEDIUM", product = ["price"], at_least = "-1", below = "1"}',
    '{lane = "LOW", product = ["price", "quantity", "factor", "lots"], below = "0.00000001"}',
    '{lane = "HIGH", column = "venue", in = ["x"], product = ["lots"], below = -5}',
]


def definition_of(rules: list[str]) -> TableDefinition:
    return parse_definition(f"{HEAD}\nlanes = [{', '.join(rules)}]", "orders.toml")


def meets(rule: LaneRule, row: dict[str, Any]) -> bool:
    if rule.column is not None and row[rule.column] not in rule.one_of:
        return False
    if rule.product:
        if any(row[name] is None for name in rule.product):
            return False
        with localcontext(prec=200):
            value = Decimal(1)
            for name in rule.product:
                value *= row[name]
            if rule.at_least is not None and value < rule.at_least:
                return False
            if rule.below is not None and value >= rule.below:
                return False
    return True


def expected_lane(definition: TableDefinition, row: dict[str, Any]) -> int:
    return next((int(r.lane) for r in definition.lane_rules if meets(r, row)), int(Lane.MEDIUM))


def money() -> st.SearchStrategy[Decimal]:
    return st.one_of(
        st.decimals(-9_999_999_999, 9_999_999_999, places=8),
        st.sampled_from(["0", "10", "9.99999999", "316.22776602", "100000", "-1", "1"]).map(
            Decimal
        ),
    )


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    int64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-1_100, 1_100))
    return st.lists(
        st.fixed_dictionaries(
            {
                "venue": st.sampled_from([None, "test", "demo", "x", ""]),
                "price": st.none() | money(),
                "quantity": st.none() | money(),
                "factor": st.none() | st.decimals(-99, 99, places=2),
                "lots": st.none() | int64,
                "size": st.none() | int64,
            }
        ),
        max_size=12,
    )


@given(st.lists(st.sampled_from(RULES), max_size=5), rows())
def test_each_row_is_in_the_lane_of_the_first_rule_that_it_meets(
    rules: list[str], values: list[dict[str, Any]]
) -> None:
    definition = definition_of(rules)
    names = [c.name for c in definition.columns if c.name not in ("id", "at")]
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([v[name] for v in values], definition.payload_schema.field(name).type)
            for name in names
        ],
        names=names,
    )

    lanes = lanes_of(definition, batch)

    assert lanes.tolist() == [expected_lane(definition, v) for v in values]


@pytest.mark.parametrize(
    ("price", "quantity", "lane"),
    [
        ("100000", "1", Lane.HIGH),
        ("99999.99999999", "1", Lane.MEDIUM),
        ("10", "1", Lane.MEDIUM),
        ("9.99999999", "1", Lane.LOW),
        ("0.00000001", "0.00000001", Lane.LOW),
        ("9999999999.99999999", "9999999999.99999999", Lane.HIGH),
        ("-9999999999.99999999", "9999999999.99999999", Lane.LOW),
    ],
)
def test_a_trade_is_ranked_by_its_notional(price: str, quantity: str, lane: Lane) -> None:
    decoded = Decoder(TRADES).decode(raw_batch([trade_bytes(price=price, quantity=quantity)]))

    assert lanes_of(TRADES, decoded.rows).tolist() == [lane]


def test_no_rows_have_no_lanes() -> None:
    rows_of_none = Decoder(TRADES).decode(raw_batch([])).rows

    assert lanes_of(TRADES, rows_of_none).tolist() == []


def test_a_product_has_the_type_that_holds_it_exactly() -> None:
    price, lots = pa.decimal128(18, 8), pa.int64()

    assert product_type([price]) == price
    assert product_type([price, price]) == pa.decimal128(37, 16)
    assert product_type([lots, lots]) == pa.decimal256(39, 0)
    assert product_type([price, price, lots, price]) == pa.decimal256(76, 24)
    with pytest.raises(ValueError, match="a product of 77 digits, more than 76"):
        product_type([price, price, pa.decimal128(20, 0), price])
