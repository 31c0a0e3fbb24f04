"""A producer reads its own writes, and an answer is given again, by real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from flight_server.cut.request import with_hint
from tests.support.joint import sample_messages
from tests.support.stack import Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

MESSAGES = sample_messages()
COUNT = "SELECT count(*) AS n FROM trades"


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic(partitions=2))
    made.start("ingest", "--flush-interval-s=0.3")
    made.start("serve")
    wait_until(lambda: made.try_ask(COUNT), lambda: f"no table: {made.logs()}")
    yield made
    made.stop()


def count(stack: Stack, **words: str) -> int:
    """The rows at that cut."""
    n: int = stack.ask(with_hint(COUNT, words))[0]["n"]
    return n


def now_us() -> str:
    return str(time.time_ns() // 1_000)


def test_a_producer_reads_its_own_writes_by_offset_and_by_time(stack: Stack) -> None:
    for turn in range(10):
        stack.produce(MESSAGES[turn * 50 : turn * 50 + 50], partition=turn % 2)
        last = {stack.topic: {str(turn % 2): (turn // 2) * 50 + 49}}
        assert count(stack, at_least=json.dumps(last), wait_s="20") == turn * 50 + 50
    stack.produce(MESSAGES[500:600])

    assert count(stack, at_least=now_us(), wait_s="20") == 600


def test_an_answer_is_the_same_after_commits_and_a_killed_server(stack: Stack) -> None:
    given: list[tuple[str, list[dict[str, Any]], str]] = []
    questions = (
        "SELECT symbol, count(*) AS n, sum(price) AS p FROM trades GROUP BY 1 ORDER BY 1",
        "SELECT _partition, count(*) AS n, sum(_offset) FROM trades_tail GROUP BY 1 ORDER BY 1",
    )
    for turn in range(12):
        stack.produce(MESSAGES[turn * 100 : turn * 100 + 100], partition=turn % 2)
        last = {stack.topic: {str(turn % 2): turn // 2 * 100 + 99}}
        count(stack, at_least=json.dumps(last), wait_s="20")
        for sql in questions:
            rows, answered = stack.answer(sql)
            given.append((sql, rows, json.dumps(answered)))
    stack.kill("serve")
    stack.start("serve")
    stack.wait_for_rows(1_200, "trades_history")

    assert len({json.dumps(json.loads(r)["tables"]["trades"]["cut"]) for _, _, r in given}) > 5
    for sql, rows, receipt in given:
        assert stack.ask(with_hint(sql, {"exactly": receipt})) == rows
