"""File descriptors and the tail's disk run out under the real processes, and come back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import adbc_driver_flightsql.dbapi as flight_sql
import pytest

from tests.support.limits import anonymous_bytes, limits, no_descriptors
from tests.support.made_trades import made_trades
from tests.support.proof import counts, wait_for_code, wait_for_cut, wait_for_no_code
from tests.support.stack import Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

MIB = 1024 * 1024
FAST = ("--flush-interval-s=0.3", "--retry-max-s=0.5")
PAD_BYTES = 10_000


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic())
    yield made
    made.stop()


def test_processes_without_free_descriptors_go_on_when_they_have_some(stack: Stack) -> None:
    stack.start("ingest", *FAST, stack.watched("ingest"))
    stack.start("serve", stack.watched("serve"))
    stack.produce(made_trades(0, 500))
    stack.wait_for_rows(500, "trades_history")
    wait_for_no_code(stack, "ingest", "serve")
    for name in ("ingest", "serve"):
        soft, hard = limits(stack.pid(name))
        assert soft == hard

    refused = []
    with no_descriptors(stack.pid("serve")):
        stack.produce(made_trades(500, 500))
        for _ in range(10):
            try:
                counts(stack)  # an answer is exact, or there is none
            except flight_sql.Error as error:
                refused.append(str(error))
        wait_for_code(stack, "serve", "out_of_descriptors")
    wait_for_cut(stack, 1_000)
    assert refused
    assert all("no file descriptor free" in text for text in refused)
    assert not any(re.search(r"parquet|\.arrow|Traceback", text) for text in refused)

    stack.wait_for_rows(1_000, "trades_history")
    with no_descriptors(stack.pid("ingest")):
        stack.produce(made_trades(1_000, 500))
        wait_for_code(stack, "ingest", "out_of_descriptors")
        assert stack.status("ingest")["ready"] is False
        wait_for_cut(stack, 1_500)
    stack.wait_for_rows(1_500, "trades_history")
    wait_for_no_code(stack, "ingest", "serve")


def test_at_the_cap_of_the_tail_answers_stay_exact_until_the_sidecar_is_back(stack: Stack) -> None:
    stack.start("ingest", *FAST)
    stack.start("serve", stack.watched("serve"), f"--tail-disk-bytes={64 * MIB}")
    stack.produce(made_trades(0, 500))
    stack.wait_for_rows(500, "trades_history")
    stack.kill("ingest")

    produced = 500
    while not stalled(stack):
        stack.produce(made_trades(produced, 2_000, pad_bytes=PAD_BYTES))
        produced += 2_000
        assert produced * PAD_BYTES < 500 * MIB, stack.status("serve")
    at_cap = counts(stack)
    memory = anonymous_bytes(stack.pid("serve"))
    stack.produce(made_trades(produced, 8_000, pad_bytes=PAD_BYTES))
    produced += 8_000
    wait_for_code(stack, "serve", "tail_full")
    _, receipt = stack.answer("SELECT count(*) FROM trades")
    status = stack.status("serve")
    later = counts(stack)

    assert later == at_cap
    assert 500 < later["cut"] < produced
    assert receipt["state"] == "stalled"
    assert "size limit" in receipt["tables"]["trades"]["reason"]
    assert status["ready"] is True
    assert status["codes"] == {"tail_full", "stalled"}
    assert status["tables"]["trades"]["tail_bytes"] <= 64 * MIB
    assert anonymous_bytes(stack.pid("serve")) < memory + 80 * MIB

    stack.start("ingest", *FAST, stack.watched("ingest"))
    assert wait_for_cut(stack, produced)["n"] == produced
    stack.wait_for_rows(produced, "trades_history")
    wait_for_no_code(stack, "ingest", "serve")


def stalled(stack: Stack) -> bool:
    """Whether the cut stands still: waits until it does, or all that was produced is in it."""

    def settled() -> str:
        table = stack.status("serve")["tables"]["trades"]
        return (
            str(table["state"]) if table["state"] == "stalled" or not table["lag_messages"] else ""
        )

    return bool(wait_until(settled, lambda: f"it goes on: {stack.status('serve')}") == "stalled")
