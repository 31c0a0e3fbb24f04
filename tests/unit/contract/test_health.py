"""Conditions: what a process says of itself, and that it stays bounded and right."""

from __future__ import annotations

import errno
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from contract.errors import UnavailableError
from contract.health import (
    TEXT_CHARS_MAX,
    Code,
    Conditions,
    NoHealth,
    set_storage,
    storage_code,
)
from flight_server import app as server_app
from ingest import app as ingest_app
from tests.support.failpoints import HandClock

BLOCKING = frozenset({Code.STARTING, Code.BROKER_AWAY})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def conditions(clock: HandClock) -> Conditions:
    return Conditions("ingest", BLOCKING, clock)


def codes(conditions: Conditions) -> list[str]:
    return [r["code"] for r in conditions.document()["reasons"]]


def test_a_process_without_conditions_is_ready(conditions: Conditions) -> None:
    document = conditions.document()

    assert document["ready"] is True
    assert document["reasons"] == []
    assert document["process"] == "ingest"


def test_a_blocking_condition_ends_readiness_from_then_on(
    conditions: Conditions, clock: HandClock
) -> None:
    clock.now_s = 60.5
    conditions.of("trades").set(Code.BROKER_AWAY, "nobody answers")
    clock.now_s = 90.0
    conditions.of("quotes").set(Code.BROKER_AWAY, "nobody answers")
    document = conditions.document()

    assert (document["ready"], document["since"]) == (False, "1970-01-01T00:01:00.500+00:00")
    assert document["reasons"][0] == {
        "code": "broker_away",
        "table": "trades",
        "text": "nobody answers",
        "since": "1970-01-01T00:01:00.500+00:00",
        "blocking": True,
    }


def test_readiness_comes_back_with_the_last_blocking_condition_gone(
    conditions: Conditions, clock: HandClock
) -> None:
    for table in ("trades", "quotes"):
        conditions.of(table).set(Code.BROKER_AWAY, "nobody answers")
    conditions.of("trades").clear(Code.BROKER_AWAY)
    assert conditions.document()["ready"] is False

    clock.now_s = 120.0
    conditions.of("quotes").clear(Code.BROKER_AWAY, Code.STARTING)

    document = conditions.document()
    assert (document["ready"], document["since"]) == (True, "1970-01-01T00:02:00.000+00:00")


def test_a_degraded_process_is_ready_and_says_why_it_is_degraded(conditions: Conditions) -> None:
    conditions.of("trades").set(Code.BUFFER_FULL, "fetching pauses")

    document = conditions.document()
    assert document["ready"] is True
    assert [(r["code"], r["blocking"]) for r in document["reasons"]] == [("buffer_full", False)]


def test_what_blocks_is_named_before_what_degrades(conditions: Conditions) -> None:
    conditions.of("trades").set(Code.BUFFER_FULL, "fetching pauses")
    conditions.of("trades").set(Code.STARTING, "not yet")

    assert codes(conditions) == ["starting", "buffer_full"]


def test_a_condition_keeps_its_time_and_takes_the_newer_text(
    conditions: Conditions, clock: HandClock
) -> None:
    health = conditions.of("trades")
    health.set(Code.DISK_FULL, "the first file")
    since = conditions.document()["reasons"][0]["since"]
    clock.now_s += 10
    for i in range(1_000):
        health.set(Code.DISK_FULL, f"file {i}")

    (reason,) = conditions.document()["reasons"]
    assert (reason["text"], reason["since"]) == ("file 999", since)


def test_only_one_reason_of_the_storage_holds_at_a_time(conditions: Conditions) -> None:
    health = conditions.of("trades")
    set_storage(health, Code.CATALOG_AWAY, "locked")
    set_storage(health, Code.DISK_FULL, "full")

    assert codes(conditions) == ["disk_full"]


def test_a_text_is_one_short_line_without_a_path(conditions: Conditions) -> None:
    health = conditions.of("")
    text = "cannot write\n'/var/lib/x y/data.db', nor file:///srv/a/b.avro: " + "x" * 1_000
    health.set(Code.DISK_FULL, text)

    (reason,) = conditions.document()["reasons"]
    assert reason["table"] is None
    assert len(reason["text"]) == TEXT_CHARS_MAX
    assert "/var" not in reason["text"]
    assert "/srv" not in reason["text"]
    assert "\n" not in reason["text"]
    assert reason["text"].endswith("…")


def test_figures_of_each_table_stand_beside_the_reasons(conditions: Conditions) -> None:
    conditions.of("trades").show({"lag_messages": 3, "state": "complete"})
    conditions.of("trades").show({"lag_messages": 4, "state": "lagging"})

    document = json.loads(json.dumps(conditions.document()))
    assert document["tables"] == {"trades": {"lag_messages": 4, "state": "lagging"}}


def _caused(error: BaseException) -> UnavailableError:
    made = UnavailableError("it does not work")
    made.__cause__ = error
    return made


def _full_sqlite() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    try:
        connection.execute("CREATE TABLE a AS SELECT zeroblob(100000) AS b")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("it had room")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "no room"), Code.DISK_FULL),
        (OSError(errno.EDQUOT, "no quota"), Code.DISK_FULL),
        (OSError(errno.EMFILE, "too many"), Code.OUT_OF_DESCRIPTORS),
        (OSError(errno.EIO, "broken"), Code.DISK_FAILING),
        (OSError(errno.ECONNREFUSED, "nobody"), Code.CATALOG_AWAY),
        (sqlite3.OperationalError("database is locked"), Code.CATALOG_AWAY),
        (OperationalError("UPDATE", {}, _full_sqlite()), Code.DISK_FULL),
        (ValueError("?"), Code.CATALOG_AWAY),
    ],
)
def test_an_error_of_the_storage_is_known_by_its_number(error: Exception, code: Code) -> None:
    assert storage_code(error) is code
    assert storage_code(_caused(error)) is code


def test_nobody_needs_to_ask() -> None:
    nobody = NoHealth()
    nobody.set(Code.STARTING, "")
    nobody.clear(Code.STARTING)
    nobody.show({})


def test_every_code_is_explained_to_operators() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(\w+)` \| (\w*) *\| (\w*) *\|", page, re.MULTILINE)
    blocking = {"ingest": ingest_app.BLOCKING, "serve": server_app.BLOCKING}

    assert sorted(code for code, _, _ in explained) == sorted(code.value for code in Code)
    for code, *words in explained:
        for process, word in zip(blocking, words, strict=True):
            if word:
                assert (word == "blocks") == (Code(code) in blocking[process]), (code, process)
