"""What clients write to name a cut, and what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.errors import RequestError
from contract.table import Lane
from flight_server.cut.receipt import Others
from flight_server.cut.request import (
    CutRequest,
    Policy,
    Wanted,
    cut_request,
    take_hint,
    with_hint,
)

LANES = ("HIGH", "MEDIUM", "LOW")
FAR = {"next": {str(10**12): 1}, "rows": 1, "digest": ""}


def receipt(**changes: Any) -> dict[str, Any]:
    """A receipt over one table, with other values in the table's part."""
    table = {
        "table_id": "t",
        "snapshot_id": "12",
        "snapshot_sequence": 4,
        "topic_id": "topic-1",
        "rules": "r",
        "cut": {"0": {"HIGH": 7, "MEDIUM": 6, "LOW": 5}},
        "lake": {"0": dict.fromkeys(LANES, 3)},
        "gaps": [[0, 1, 2, ["LOW", "HIGH"]]],
        "others": {"next": {"-1": 9}, "rows": 2, "digest": "d"},
        "newest_timestamp_us": 11,
    }
    return {"format": 1, "tables": {"trades": table | changes}}


def without(key: str) -> dict[str, Any]:
    """A receipt that lacks a key."""
    made = receipt()
    del made["tables"]["trades"][key]
    return made


def test_a_receipt_is_read_with_all_that_a_cut_needs() -> None:
    request = cut_request({"exactly": json.dumps(receipt())})

    assert request is not None
    assert request.exactly is not None
    table = request.exactly["trades"]
    assert (table.table_id, table.topic_id, table.rules) == ("t", "topic-1", "r")
    assert (table.cut, table.lake) == ({0: (7, 6, 5)}, {0: (3, 3, 3)})
    assert table.gaps == {(0, 1, 2, (Lane.HIGH, Lane.LOW))}
    assert table.others == Others({-1: 9}, 2, "d")
    assert (table.sequence_number, table.newest_us) == (4, 11)
    assert (request.wait_s, request.policy) == (5.0, Policy.WAIT)


def test_a_receipt_may_stand_for_a_lower_bound() -> None:
    request = cut_request({"at_least": json.dumps(receipt()), "wait_s": "0", "policy": "STALE"})

    wanted = {"trades": Wanted({0: (7, 6, 5)}, "topic-1")}
    assert request == CutRequest(wanted, wait_s=0.0, policy=Policy.STALE)


def test_offsets_of_messages_lie_below_the_cut_that_is_wanted() -> None:
    """A producer's delivery report names the message; the answer must hold it."""
    request = cut_request({"at_least": '{"trades": {"0": 41, "3": 0}}'})

    assert request is not None
    assert request.at_least == {"trades": Wanted({0: (42,) * 3, 3: (1,) * 3})}


@pytest.mark.parametrize(
    "text", ["2026-11-24T14:00:00Z", "2026-11-24T15:00:00+01:00", "1795528800000000"]
)
def test_a_broker_time_is_iso_or_microseconds(text: str) -> None:
    request = cut_request({"at_least": text})

    assert request is not None
    assert request.at_least_us == 1_795_528_800_000_000


@pytest.mark.parametrize("words", [{}, {"at_least": ""}, {"wait_s": "3", "policy": "fail"}])
def test_words_that_name_no_cut_ask_for_none(words: dict[str, str]) -> None:
    assert cut_request(words) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"at_least": "{"}, "at_least is not valid JSON"),
        ({"at_least": "yesterday"}, "at_least is a receipt, offsets as"),
        ({"at_least": "2026-11-24T14:00:00"}, "with its offset from UTC"),
        ({"at_least": "1795528800000"}, "is no time of a message"),
        ({"at_least": '{"trades": 7}'}, "must be an object of partitions"),
        ({"at_least": '{"trades": {"x": 7}}'}, "partition that is no whole number"),
        ({"at_least": '{"trades": {"-1": 7}}'}, "partition that is no whole number"),
        ({"at_least": '{"trades": {"0": -1}}'}, "offset that is no whole number"),
        ({"at_least": '{"trades": {"0": 1.5}}'}, "offset that is no whole number"),
        ({"at_least": '{"trades": {"0": true}}'}, "offset that is no whole number"),
        ({"at_least": '{"trades": {"0": 9223372036854775808}}'}, "no whole number of 64 bits"),
        ({"exactly": "[]"}, "this is no receipt"),
        ({"exactly": "{}"}, "this is no receipt"),
        ({"exactly": "[" * 100_000}, "exactly is not valid JSON"),
        ({"exactly": '"' + "x" * (1 << 20) + '"'}, "longer than 1048576 bytes"),
        ({"exactly": '{"format": 2, "tables": {}}'}, "another format than 1"),
        ({"exactly": '{"format": 1, "tables": {"t": 1}}'}, "part of table 't' is no object"),
        ({"exactly": json.dumps(without("rules"))}, "has no 'rules': it is of an older server"),
        ({"exactly": json.dumps(receipt(cut={"0": {"HIGH": 1}}))}, "has no 'MEDIUM'"),
        ({"exactly": json.dumps(receipt(cut={"0": 1}))}, "cannot be read"),
        ({"exactly": json.dumps(receipt(gaps=[[1]]))}, "cannot be read"),
        ({"exactly": json.dumps(receipt(gaps=[[0, 1, 2, ["NONE"]]]))}, "has no 'NONE'"),
        ({"exactly": json.dumps(receipt(others={"next": {"x": 1}}))}, "cannot be read"),
        ({"exactly": json.dumps(receipt(lake={}))}, "its lake lies beyond its cut"),
        (
            {"exactly": json.dumps(receipt(lake={"0": dict.fromkeys(LANES, 8)}))},
            "its lake lies beyond its cut",
        ),
        (
            {"exactly": json.dumps(receipt(others=FAR))},
            "partitions of others that no table can have",
        ),
        ({"at_least": "1795528800000000", "exactly": "{}"}, "exclude each other"),
        ({"at_least": "1795528800000000", "wait_s": "61"}, "from 0 to 60"),
        ({"at_least": "1795528800000000", "wait_s": "nan"}, "from 0 to 60"),
        ({"at_least": "1795528800000000", "policy": "hope"}, "one of wait, fail, stale"),
        ({"exactly": json.dumps(receipt()), "policy": "stale"}, "fits at_least only"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(words: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        cut_request(words)


def test_a_comment_at_the_head_of_a_statement_names_a_cut() -> None:
    sql, words = take_hint(
        ' /*+ highwater {"at_least": {"trades": {"0": 7}}, "wait_s": 2} */ SELECT 1 /* x */'
    )

    assert sql == " SELECT 1 /* x */"
    assert words == {"at_least": '{"trades": {"0": 7}}', "wait_s": "2"}


@pytest.mark.parametrize("sql", ["SELECT 1", "/* highwater */ SELECT 1", "SELECT /*+ highwater */"])
def test_other_comments_are_the_engines(sql: str) -> None:
    assert take_hint(sql) == (sql, {})


def test_no_value_ends_the_comment_that_it_stands_in() -> None:
    words = {"exactly": json.dumps(receipt(rules="*/ DROP")), "policy": "fail"}
    sql, found = take_hint(with_hint("SELECT 2", words))

    assert sql.strip() == "SELECT 2"
    assert found == words
    assert with_hint("SELECT 2", {}) == "SELECT 2"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("/*+ highwater at_least */ SELECT 1", "is not valid JSON"),
        ("/*+ highwater [] */ SELECT 1", "must hold a JSON object"),
        ('/*+ highwater {"cut": 1} */ SELECT 1', "has 'cut'; known are at_least"),
    ],
)
def test_a_comment_that_cannot_be_read_is_refused(sql: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        take_hint(sql)
