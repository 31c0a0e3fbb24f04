"""Answers asked for again: what differs is found, and only lost foreign rows excuse a refusal."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import adbc_driver_manager as adbc
import pyarrow as pa
import pytest

from flight_server.cut.request import take_hint
from highwater.audit.again import Given, Recorder, ask_all_again
from highwater.audit.judge import Asked, Knowledge
from highwater.audit.ledger import Ledger
from highwater.audit.lineage import FOREIGN_KEY, ForeignRow, Lineage
from highwater.audit.log_model import LogModel
from highwater.audit.questions import Question
from highwater.audit.receipt import parse_receipt
from highwater.sql import RECEIPT_KEY
from tests.support.failpoints import HandClock

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = Question("count", "select count(*) from trades", lambda _log, _covered: [])
GONE = "NOT_FOUND: table 'trades' holds rows of other writers, and not the same ones below the cut"


def receipt(cut: int, snapshot_id: int | None = 1) -> str:
    offsets = {"0": dict.fromkeys(("HIGH", "MEDIUM", "LOW"), cut)}
    table = {"snapshot_id": snapshot_id, "cut": offsets, "lake": offsets, "topic_id": "t"}
    return json.dumps({"tables": {"trades": table}})


def given(rows: int, cut: int = 9, snapshot_id: int | None = 1) -> Given:
    text = receipt(cut, snapshot_id)
    return Given(Asked(COUNT, [(rows,)], parse_receipt(text.encode(), "trades")), text)


def answering(rows: int, cut: int = 9) -> Callable[[str], pa.Table]:
    """A server with that answer; the statement must name the receipt."""

    def ask(sql: str) -> pa.Table:
        rest, words = take_hint(sql)
        assert rest.strip() == COUNT.sql
        assert json.loads(words["exactly"]) == json.loads(receipt(9))
        metadata = {RECEIPT_KEY: receipt(cut).encode()}
        return pa.table({"n": [rows]}).replace_schema_metadata(metadata)

    return ask


def refusing(text: str) -> Callable[[str], pa.Table]:
    def ask(_: str) -> pa.Table:
        raise adbc.ProgrammingError(text, status_code=adbc.AdbcStatusCode.NOT_FOUND)

    return ask


def outcome(
    ask: Callable[[str], pa.Table], lineage: Lineage | None = None, head: int | None = 1
) -> dict[str, Any]:
    """What the ledger counts after one answer of five rows was asked for again."""
    ledger = Ledger(HandClock(), lambda _: None)
    knowledge = Knowledge(LogModel(0, 0), lineage or Lineage())
    ask_all_again([given(5)], ask, knowledge, ledger, head)
    result = ledger.result()
    return {name: n for name, n in result.items() if isinstance(n, int) and n}


@pytest.mark.parametrize(
    ("ask", "counts"),
    [
        (answering(5), {"reasked": 1}),
        (answering(4), {"gaps": 1}),
        (answering(6), {"duplicates": 1}),
        (answering(5, cut=8), {"reasked": 1, "errors": 1}),
        (refusing("UNAVAILABLE"), {"errors": 1}),
        (refusing(GONE), {"errors": 1}),
    ],
)
def test_what_differs_is_found(ask: Callable[[str], pa.Table], counts: dict[str, int]) -> None:
    assert outcome(ask) == counts


def test_a_refusal_is_excused_where_foreign_rows_are_gone() -> None:
    lineage = Lineage()
    lineage.announce("1", [ForeignRow("a", 1, 1, 1)])
    held = {"snapshot-id": 1, "summary": {FOREIGN_KEY: "1"}}
    lineage.learn({"snapshots": [held, {"snapshot-id": 2}]})

    assert outcome(refusing(GONE), lineage, head=2) == {"reask_refused": 1}
    assert outcome(refusing(GONE), lineage, head=1) == {"errors": 1}
    assert outcome(refusing("other words"), lineage, head=2) == {"errors": 1}


def test_of_many_answers_each_has_the_same_chance_to_be_kept() -> None:
    hits = [0] * 20
    for seed in range(400):
        recorder = Recorder(5, Random(seed))
        for n in range(20):
            recorder.offer(given(n).asked, receipt(9).encode())
        kept = [one.asked.found[0][0] for one in recorder.given()]
        assert len(kept) == 5
        for number in kept:
            hits[int(number or 0)] += 1

    assert min(hits) > 60
    assert max(hits) < 140
