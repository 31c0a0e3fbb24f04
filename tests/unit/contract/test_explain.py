"""Reasons, as far as the decoder's tests do not see them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.explain import TOMBSTONE, Inspector
from tests.support.strategies import TRADES, messages, trade, trade_bytes

TABLE = Inspector(TRADES)


@given(messages() | st.binary())
def test_a_message_has_either_a_reason_or_fields(value: bytes | None) -> None:
    reason, fields = TABLE.look(value)

    assert (reason is None) == bool(fields)
    assert reason is None or 0 < len(reason) <= 300
    assert TABLE.explain(value) == (reason or "not a message of this table: the parser refused it")


def test_a_null_value_is_a_tombstone() -> None:
    assert TABLE.explain(None) == TOMBSTONE


def test_the_fields_of_a_good_message_are_handed_on() -> None:
    assert TABLE.look(trade_bytes()).fields == trade()


def test_a_reason_stays_short_whatever_the_message_holds() -> None:
    long = "x" * 10_000_000

    assert TABLE.explain(trade_bytes(side=long)).startswith("field 'side': 'xxx")
    assert len(TABLE.explain(trade_bytes(side=long))) < 200
    assert len(TABLE.explain(trade_bytes(**{long: 1}))) < 100
    assert len(TABLE.explain(trade_bytes(price=long))) < 120
