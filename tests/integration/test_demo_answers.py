"""The demo's questions against a real engine with a small table in the form of `trades`."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa

from highwater.answers import ask_all, line, page
from highwater.sql import connect
from tests.support.flight_fixture import SmallEngine, serving

COLUMNS = pa.schema(
    [
        ("symbol", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("price", pa.decimal128(18, 8)),
        ("quantity", pa.decimal128(18, 8)),
        ("source_sequence", pa.int64()),
    ]
)


def trades(prices: list[str], first_sequence: int) -> pa.Table:
    now = datetime.datetime.now(datetime.UTC)
    count = len(prices)
    columns = [
        ["BTCUSDT"] * count,
        [now] * count,
        [Decimal(price) for price in prices],
        [Decimal(1)] * count,
        list(range(first_sequence, first_sequence + count)),
    ]
    return pa.table(columns, schema=COLUMNS)


def test_each_question_is_answered_over_history_and_tail() -> None:
    engine = SmallEngine()
    lake, tail = trades(["10", "30", "5"], 0), trades(["20"], 3)
    engine.add("trades_history", lake)
    engine.add("trades_tail", tail)
    engine.add("trades", pa.concat_tables([lake, tail]))

    with serving(engine) as server, connect(f"grpc://127.0.0.1:{server.port}", 20) as connection:
        answers = ask_all(connection, "trades")

    (minute,) = answers.last_minute.select(["symbol", "trades", "vwap"]).to_pylist()
    bars = answers.ohlc.to_pylist()
    assert answers.rows == (3, 1, 4)
    assert minute == {"symbol": "BTCUSDT", "trades": 4, "vwap": 16.25}
    assert sum(bar["trades"] for bar in bars) == 4
    assert max(bar["high"] for bar in bars) == 30
    assert min(bar["low"] for bar in bars) == 5
    assert bars[-1]["open"] == 10
    assert bars[0]["close"] == 20
    assert "4 rows = 3 lake + 1 tail" in line(answers)
    assert "BTCUSDT" in page(answers)
