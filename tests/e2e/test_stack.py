"""Real broker, sidecar, server and client: what a user is promised, while processes are killed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.support.joint import sample_messages
from tests.support.stack import PROOF, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

MESSAGES = sample_messages()
FAST = ("--flush-interval-s=0.3",)


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic(partitions=2))
    yield made
    made.stop()


def prove(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """On a topic without poison and duplicates: each offset below the cut once, nothing else."""
    (row,) = rows
    assert row["n"] == row["ids"] == row["cut"] == row["lake"] + row["tail"], row
    return row


def wait_for_commit(stack: Stack, rows: int) -> None:
    """Until the lake holds at least so many rows."""
    wait_until(
        lambda: (stack.try_ask(PROOF) or [{"lake": 0}])[0]["lake"] >= rows,
        lambda: f"nothing was committed: {stack.logs()}",
    )


def test_rows_are_visible_before_during_and_after_their_commit_exactly_once(stack: Stack) -> None:
    stack.start("ingest", *FAST)
    stack.start("serve")
    wait_until(
        lambda: stack.try_ask("SELECT count(*) FROM trades"), lambda: f"no table: {stack.logs()}"
    )
    seen: list[dict[str, Any]] = []
    for start in range(0, 3_000, 30):
        stack.produce(MESSAGES[start : start + 30], partition=start // 30 % 2)
        seen.append(prove(stack.ask(PROOF)))
    stack.wait_for_rows(3_000, "trades_history")
    seen.append(prove(stack.ask(PROOF)))

    assert [row["cut"] for row in seen] == sorted(row["cut"] for row in seen)
    assert any(row["lake"] and row["tail"] for row in seen)
    assert seen[-1]["n"] == 3_000


def test_a_killed_sidecar_goes_on_without_loss_or_double(stack: Stack) -> None:
    stack.start("serve")
    for round_ in range(4):
        stack.start("ingest", *FAST)
        stack.produce(MESSAGES[round_ * 700 : (round_ + 1) * 700], partition=round_ % 2)
        if round_ < 3:
            wait_for_commit(stack, round_ * 700 + 1)
            stack.kill("ingest")
            prove(stack.ask(PROOF))

    stack.wait_for_rows(2_800, "trades_history")
    assert prove(stack.ask(PROOF))["n"] == 2_800


def test_a_killed_server_comes_back_with_its_tail(stack: Stack) -> None:
    stack.start("ingest", "--flush-interval-s=3600", "--flush-rows=1000000")
    stack.start("serve")
    stack.produce(MESSAGES)
    stack.wait_for_rows(len(MESSAGES))
    stack.kill("serve")
    stack.produce(MESSAGES[:0])
    stack.start("serve")

    stack.wait_for_rows(len(MESSAGES))
    row = prove(stack.ask(PROOF))
    assert row["lake"] == 0


def test_a_server_that_was_stopped_maps_its_tail_again(stack: Stack) -> None:
    stack.start("ingest", "--flush-interval-s=3600", "--flush-rows=1000000")
    stack.start("serve")
    stack.produce(MESSAGES)
    stack.wait_for_rows(len(MESSAGES))
    stack.disconnect()
    stack.signal("serve", signal.SIGTERM)
    assert stack.exit_code("serve") == 0
    sealed = list((stack.folder / "data" / "tail").rglob("*.arrow"))
    stack.start("serve")
    stack.wait_for_rows(len(MESSAGES))

    assert sealed
    prove(stack.ask(PROOF))
    chunks = stack.ask("SELECT sum(rows) AS n FROM system.tail_chunks WHERE sealed")
    assert chunks == [{"n": len(MESSAGES)}]


def test_of_two_sidecars_the_older_one_is_refused(stack: Stack) -> None:
    stack.start("serve")
    stack.start("ingest", *FAST)
    stack.produce(MESSAGES[:1_000])
    stack.wait_for_rows(1_000, "trades_history")
    stack.signal("ingest", signal.SIGSTOP)
    stack.start("ingest:second", *FAST)
    stack.produce(MESSAGES[1_000:2_000])
    stack.wait_for_rows(2_000, "trades_history")
    stack.signal("ingest", signal.SIGCONT)
    stack.produce(MESSAGES[2_000:])

    assert stack.exit_code("ingest") == 3
    assert "another sidecar" in stack.log("ingest")
    stack.wait_for_rows(len(MESSAGES), "trades_history")
    prove(stack.ask(PROOF))


def test_poison_goes_to_the_dead_letters_and_its_neighbours_go_on(stack: Stack) -> None:
    poison: list[bytes | None] = [b"{", b"", None, b'{"price": 1}', b"\xff", b"x" * 100_000]
    stack.start("ingest", *FAST)
    stack.start("serve")
    stack.produce([*poison, *MESSAGES[:500], *poison])
    stack.wait_for_rows(500)
    stack.wait_for_rows(12, "trades_dead")
    stack.wait_for_rows(500, "trades_history")
    dead = stack.ask("SELECT * FROM trades_dead ORDER BY _offset")

    assert [row["value"] for row in dead] == poison * 2
    assert [row["_offset"] for row in dead] == [*range(6), *range(506, 512)]
    assert all(row["reason"] for row in dead)


def test_duplicates_are_dropped_alike_before_and_after_the_commit(stack: Stack) -> None:
    stack.start("serve")
    stack.start("ingest", "--flush-interval-s=3600", "--flush-rows=1000000")
    stack.produce([*MESSAGES[:800], *MESSAGES[400:1_000]])
    stack.wait_for_rows(1_000)
    before = stack.ask("SELECT message_id, price FROM trades ORDER BY message_id")
    stack.signal("ingest", signal.SIGTERM)
    assert stack.exit_code("ingest") == 0
    stack.wait_for_rows(1_000, "trades_history")

    assert stack.ask("SELECT message_id, price FROM trades ORDER BY message_id") == before


def test_the_receipt_of_an_answer_names_its_cut(stack: Stack) -> None:
    stack.start("ingest", *FAST)
    stack.start("serve")
    stack.produce(MESSAGES[:1_234])
    stack.wait_for_rows(1_234)
    rows, receipt = stack.answer("SELECT count(*) AS n FROM trades")

    table = receipt["tables"]["trades"]
    assert rows == [{"n": table["cut"]["0"]["HIGH"] + table["cut"]["1"]["HIGH"]}]
    wait_until(
        lambda: stack.answer("SELECT count(*) FROM trades")[1]["state"] == "complete",
        lambda: "the receipt never says complete",
    )


def test_pandas_polars_and_duckdb_read_the_live_table(stack: Stack) -> None:
    stack.start("ingest", *FAST)
    stack.start("serve")
    stack.produce(MESSAGES)
    stack.wait_for_rows(len(MESSAGES))
    connection = stack._connection
    sql = "SELECT symbol, count(*) AS n, max(price) AS high FROM trades GROUP BY 1 ORDER BY 1"

    with connection.cursor() as cursor:
        frame = pd.read_sql(sql, connection)
        polars_frame = pl.read_database(sql, connection)
        cursor.execute("SELECT * FROM trades")
        answer = cursor.fetch_record_batch()  # noqa: F841 - DuckDB finds it by its name
        duckdb.execute("SELECT symbol, count(*) AS n FROM answer GROUP BY 1 ORDER BY 1")
        counts = duckdb.fetchall()

    assert frame["n"].tolist() == polars_frame["n"].to_list() == [n for _, n in counts]
    assert sum(frame["n"]) == len(MESSAGES)
