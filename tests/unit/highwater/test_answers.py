"""The demo's picture of its answers."""

from __future__ import annotations

import ast
import datetime
import json

import pyarrow as pa

from highwater.answers import Answers, clients, line, page, receipt_line

NEWEST = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

TRADES = {"snapshot_id": "7", "lag_messages": 2, "lag_s": 0.003, "cut": {"0": {"HIGH": 1}}}


def answers() -> Answers:
    rows = {"symbol": ["BTCUSDT", "XBTUSDT"], "trades": [1200, 3], "vwap": [39432.5, 1.0]}
    return Answers(
        counts=pa.table({"lake": [1000], "tail": [234], "all": [1234]}),
        last_minute=pa.table({**rows, "newest": [NEWEST, NEWEST]}),
        ohlc=pa.table(
            {"minute": pa.array([], pa.timestamp("us", "UTC")), "open": pa.array([], "f8")}
        ),
        receipt=json.dumps({"state": "complete", "tables": {"trades": TRADES}}),
    )


def test_a_line_holds_the_sum_the_symbols_and_the_receipt() -> None:
    text = line(answers())

    assert text.startswith("1,234 rows = 1,000 lake + 234 tail | ")
    assert "BTCUSDT 1,200 at 39,432.50, XBTUSDT 3 at 1.00" in text
    assert text.endswith("complete; trades at snapshot 7, 2 messages and 0.003 s behind")
    assert "\n" not in text


def test_a_page_holds_every_answer() -> None:
    text = page(answers())

    for part in ("1000", "234", "1234", "BTCUSDT", "2026-01-02 03:04:05", "minute", "complete"):
        assert part in text


def test_an_answer_without_rows_or_receipt_is_shown_too() -> None:
    found = answers()
    bare = Answers(found.counts, found.last_minute.slice(0, 0), found.ohlc, None)

    assert "last minute: nothing | no receipt" in line(bare)
    assert "no receipt" in page(bare)
    assert receipt_line('{"state": "stalled", "tables": {}}') == "stalled"


def test_what_is_to_be_copied_is_valid_python_with_the_address() -> None:
    text = clients("grpc://127.0.0.1:5", "trades")

    code = "\n".join(row.strip() for row in text.split("# Python", 1)[1].splitlines()[1:])
    ast.parse(code)
    assert text.count("grpc://127.0.0.1:5") == 3
