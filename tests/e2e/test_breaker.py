"""Lanes that wait, end to end: the pin, the receipt, `/metrics`, and answers that do not change."""

from __future__ import annotations

import re
import urllib.request
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from highwater.breaker import run as breaker
from tests.support.stack import Stack, wait_until
from tests.support.strategies import trade_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

COUNTS = """
SELECT count(*) AS n, count(DISTINCT message_id) AS ids,
       (SELECT count(*) FROM trades_history) AS lake,
       (SELECT count(*) FROM trades_tail) AS tail
FROM trades
"""
PRICES = {"HIGH": "1000000", "MEDIUM": "100", "LOW": "1"}  # for a quantity of 1


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic())
    yield made
    made.stop()


def metrics_of(stack: Stack, name: str) -> dict[tuple[str, str], float]:
    """Value by name and lane (or nothing)."""
    url = f"http://127.0.0.1:{stack.health_ports[name]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        text = reply.read().decode()
    return {
        (s.name, s.labels.get("lane", "")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def pin(stack: Stack, *words: str) -> None:
    tables = [f"--tables={table}" for table in stack.tables]
    assert breaker([*words, f"--data-dir={stack.folder / 'data'}", *tables], {}) == 0


def lake_of(stack: Stack) -> dict[str, Any]:
    receipt = stack.answer(COUNTS)[1]["tables"]["trades"]
    return {"level": receipt["level"], **receipt["lake"]["0"]}


def produce(stack: Stack, first: int, count: int) -> None:
    stack.produce(
        [
            trade_bytes(message_id=f"{lane}-{i}", price=price, quantity="1")
            for i in range(first, first + count)
            for lane, price in PRICES.items()
        ]
    )


@pytest.mark.timeout(240)
def test_answers_are_the_same_while_lanes_wait_and_when_they_come_back(stack: Stack) -> None:
    flags = ("--flush-interval-s=0.2", "--breaker-down-s=0.2")
    stack.start("ingest", *flags, stack.watched("ingest"))
    stack.start("serve", stack.watched("serve"))
    produce(stack, 0, 100)
    stack.wait_for_rows(300)
    wait_until(lambda: lake_of(stack)["LOW"] == 300, stack.logs)

    pin(stack, "SEVERE", "--reason", "a test")
    wait_until(lambda: lake_of(stack)["level"] == "SEVERE", stack.logs)
    produce(stack, 100, 100)
    stack.wait_for_rows(600)
    wait_until(lambda: lake_of(stack)["HIGH"] == 600, stack.logs)

    assert stack.ask(COUNTS) == [{"n": 600, "ids": 600, "lake": 400, "tail": 200}]
    assert lake_of(stack) == {"level": "SEVERE", "HIGH": 600, "MEDIUM": 300, "LOW": 300}
    assert "overloaded" in stack.status("ingest")["codes"]
    stack.kill("ingest")
    pin(stack, "release")
    stack.start("ingest", *flags, stack.watched("ingest"))
    wait_until(lambda: lake_of(stack)["LOW"] == 600, stack.logs)

    assert stack.ask(COUNTS) == [{"n": 600, "ids": 600, "lake": 600, "tail": 0}]
    wait_until(lambda: not stack.status("ingest")["codes"], stack.logs)
    behind = "highwater_ingest_lane_behind_messages"
    wait_until(lambda: metrics_of(stack, "ingest")[behind, "LOW"] == 0, stack.logs)
    sidecar, server = metrics_of(stack, "ingest"), metrics_of(stack, "serve")
    assert sidecar["highwater_ingest_committed_rows_total", ""] == 200
    assert (sidecar["highwater_ingest_level", ""], sidecar[behind, "MEDIUM"]) == (0, 0)
    assert server["highwater_serve_streamed_rows_total", ""] > 5
    assert server["highwater_serve_tail_rows", ""] == 0
    steps = re.findall(r" level table=public.trades before=(\w+) after=(\w+)", stack.log("ingest"))
    assert steps == [("NORMAL", "SEVERE"), *pairwise(("SEVERE", "MODERATE", "LIGHT", "NORMAL"))]
