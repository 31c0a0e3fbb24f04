"""The auditor's oracle: what a cut of the log holds, against counting row by row."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.decode import Decoder
from contract.definition import load_definition
from contract.duplicates import DuplicateWindow
from contract.lanes import lanes_of
from contract.log import RawBatch
from highwater.audit.duplicate_rule import DuplicateRule
from highwater.audit.log_model import UNIT, Cut, LogModel, Place, Totals, holds, parsed, summed
from ingest.feeds.synthetic import POISON, Shape, SyntheticFeed

DEFINITION = load_definition("trades")
WINDOW_US = 120_000_000


def message(number: int, symbol: str = "A", price: str = "1.5", quantity: str = "2") -> bytes:
    """A trade with that number as its id."""
    fields = {
        "message_id": f"id-{number}", "trade_id": "t", "symbol": symbol, "exchange": "X",
        "asset_class": "crypto", "timestamp": 1, "price": price, "quantity": quantity,
        "currency": "USDT", "side": "BUY", "trade_conditions": [], "ingestion_timestamp": 1,
    }  # fmt: skip
    return json.dumps(fields).encode()


def a_log(rng: Random, messages: int) -> tuple[LogModel, list[tuple[str, Place]]]:
    """A log of three partitions, and its kept rows one by one."""
    model = LogModel(WINDOW_US, 50_000)
    kept: list[tuple[str, Place]] = []
    for _ in range(messages):
        partition = rng.randrange(3)
        price = rng.choice(("0.5", "1.5", "70000"))
        number = rng.randrange(10 * messages)
        value = message(number, rng.choice("ABC"), price)
        offset = model.positions.get(partition, 0)
        rows = model.rows
        model.add(partition, offset, 1, value)
        if model.rows > rows:
            kept.append((f"id-{number}", model.places(f"id-{number}")[-1]))
    return model, kept


def a_cut(rng: Random, model: LogModel) -> Cut:
    """Any cut; lanes differ."""

    def lane(end: int) -> int:
        return rng.randrange(end + 1)

    return {p: (lane(end), lane(end), lane(end)) for p, end in model.positions.items()}


@pytest.mark.parametrize("seed", range(5))
def test_what_any_cut_holds_is_what_counting_its_rows_gives(seed: int) -> None:
    rng = Random(seed)
    model, kept = a_log(rng, 700)
    for _ in range(20):
        cut = a_cut(rng, model)
        below = [p for _, p in kept if holds(cut, p)]

        assert model.totals(cut) == summed(Totals(1, p.offset, p.price, p.quantity) for p in below)
        for symbol in "ABC":
            rows = [p for p in below if p.symbol == symbol]
            assert model.rows_of(cut, symbol) == model.totals(cut, symbol).rows == len(rows)
        by_partition = model.by_partition(cut)
        assert {p: t.rows for p, (t, _, _) in by_partition.items()} == {
            partition: sum(p.partition == partition for p in below)
            for partition in {p.partition for p in below}
        }
    assert model.kept_offsets() == {(p.partition, p.offset) for _, p in kept}


def test_lanes_and_rows_are_those_of_the_contract() -> None:
    shape = Shape(symbols=20, late_share=0.1, duplicate_share=0.1, poison_share=0.2)
    feed = SyntheticFeed(shape, Random(7), prefix=1)
    values: list[bytes | None] = [value for _, value in feed.take(2_000, 1_700_000_000_000_000)]
    values += [message(n, price=price) for n, price in enumerate(("5", "4.99999999", "50000"))]
    count = len(values)
    decoded = Decoder(DEFINITION).decode(
        RawBatch([0] * count, list(range(count)), [1] * count, [None] * count, values)
    )
    lanes = dict(
        zip(
            decoded.rows["_offset"].to_pylist(),
            lanes_of(DEFINITION, decoded.rows).tolist(),
            strict=True,
        )
    )
    model = LogModel(WINDOW_US, 50_000)
    for offset, value in enumerate(values):
        model.add(0, offset, 1, value)

    kept = {offset: model.lane_at(0, offset) for _, offset in model.kept_offsets()}
    assert kept == {offset: lanes[offset] for offset in kept}
    assert len(kept) + model.duplicates == len(lanes)
    assert {o for _, o in model.dead_offsets()} == set(decoded.rejects["_offset"].to_pylist())


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-30, 200)), max_size=80), st.integers(1, 6)
)
def test_the_duplicate_rule_is_the_one_of_the_contract(
    rows: list[tuple[int, int]], remembered: int
) -> None:
    mine, theirs = DuplicateRule(50, remembered), DuplicateWindow(50, remembered)
    ids = [str(n) for n, _ in rows]
    timestamps_us = np.array([t for _, t in rows], dtype=np.int64)

    kept = theirs.keep(ids, timestamps_us, np.arange(len(rows)))

    assert [mine.keeps(i, int(t)) for i, t in zip(ids, timestamps_us, strict=True)] == kept.tolist()


@pytest.mark.parametrize("value", [*POISON, None])
def test_poison_is_no_row(value: bytes | None) -> None:
    assert parsed(value) is None


def test_prices_are_exact() -> None:
    model = LogModel(WINDOW_US, 10)
    for number in range(200):
        model.add(0, number, 1, message(number, price="1234567890.12345678"))
    totals = model.totals({0: (200, 200, 200)})

    assert Decimal(totals.price) / UNIT == Decimal("1234567890.12345678") * 200


def test_an_id_that_is_kept_twice_has_two_places() -> None:
    model = LogModel(WINDOW_US, 10)
    model.add(0, 0, 0, message(1))
    model.add(0, 1, WINDOW_US + 1, message(1))

    assert [p.offset for p in model.places("id-1")] == [0, 1]
    assert model.repeated == {"A": {"id-1"}}


def test_a_log_reaches_a_cut_when_every_partition_was_read_so_far() -> None:
    model = LogModel(WINDOW_US, 10)
    model.add(0, 0, 0, message(1))
    cases: list[tuple[Any, bool]] = [
        ({}, True),
        ({0: (1, 1, 1)}, True),
        ({0: (1, 2, 1)}, False),
        ({0: (1, 1, 1), 1: (1, 0, 0)}, False),
        ({0: (1, 1, 1), 1: (0, 0, 0)}, True),
    ]

    assert [model.reaches(cut) for cut, _ in cases] == [wanted for _, wanted in cases]
