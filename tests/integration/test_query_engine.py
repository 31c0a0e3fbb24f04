"""The engine over real files and a real tail: the joint, its receipt, what it refuses."""

from __future__ import annotations

import gc
import json
import weakref
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from contract.errors import (
    HighwaterError,
    ReadOnlyError,
    RequestError,
    UnavailableError,
)
from flight_server.lake.prune import filters_by_scan
from flight_server.query import statement
from tests.support.joint import Joint, make_joint, sample_messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGES = sample_messages()
ALL = len(MESSAGES)


@pytest.fixture
def joint(tmp_path: Path) -> Iterator[Joint]:
    made = make_joint(tmp_path)
    yield made
    made.catalog.close()


@pytest.fixture(autouse=True, params=[0, statement.FEW_FILES], ids=["pruned", "few files"])
def few_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether these small tables are planned once, or twice as large ones are."""
    monkeypatch.setattr(statement, "FEW_FILES", request.param)


@pytest.fixture
def seam(joint: Joint) -> Joint:
    """2,000 messages in four commits, all 3,001 in the tail."""
    joint.follow(MESSAGES, 0)
    for start in range(0, 2_000, 500):
        joint.commit(MESSAGES[start : start + 500], start)
    joint.refresh()
    return joint


def test_an_empty_table_has_no_rows_and_all_columns(joint: Joint) -> None:
    answer = joint.ask("SELECT * FROM trades")

    assert answer.num_rows == 0
    assert "_offset" not in answer.schema.names
    assert answer.schema.field("message_id").type == pa.string()


def test_rows_are_visible_before_and_after_their_commit_exactly_once(joint: Joint) -> None:
    joint.follow(MESSAGES, 0)
    before = joint.ask("SELECT * FROM trades ORDER BY message_id")
    joint.commit(MESSAGES[:1_700], 0)
    during = joint.ask("SELECT * FROM trades ORDER BY message_id")
    joint.refresh()
    after = joint.ask("SELECT * FROM trades ORDER BY message_id")

    assert before.num_rows == ALL
    assert during == before
    assert after == before
    parts = joint.ask(
        "SELECT (SELECT count(*) FROM trades_history) AS lake, "
        "(SELECT count(*) FROM trades_tail) AS tail"
    )
    assert parts.to_pylist() == [{"lake": 1_700, "tail": ALL - 1_700}]


def test_history_and_tail_show_where_rows_come_from(seam: Joint) -> None:
    answer = seam.ask(
        "SELECT max(h._offset) AS last, min(t.first) AS first FROM trades_history h, "
        "(SELECT min(_offset) AS first FROM trades_tail) t"
    )

    assert answer.to_pylist() == [{"last": 1_999, "first": 2_000}]


def test_every_part_of_a_statement_reads_the_same_cut(seam: Joint) -> None:
    answer = seam.ask(
        "SELECT count(*) AS rows, max(c.cut_offset) AS cut FROM trades, "
        "(SELECT cut_offset FROM system.cut WHERE lane = 'HIGH') c"
    )

    assert answer.to_pylist() == [{"rows": ALL, "cut": ALL}]


def test_a_plan_keeps_its_cut_while_the_table_goes_on(joint: Joint) -> None:
    joint.follow(MESSAGES[:1_000], 0)
    plan = joint.engine.plan("SELECT count(*) AS n FROM trades")
    joint.follow(MESSAGES[1_000:], 1_000)
    joint.commit(MESSAGES, 0)
    joint.refresh()

    for _ in range(2):
        rows = [r for b in plan.stream() for r in b.to_pylist()]
        assert rows == [{"n": 1_000}]


def test_pruned_files_are_not_read(seam: Joint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "FEW_FILES", 3)
    one = json.loads(MESSAGES[700])["message_id"]
    plan = seam.engine.plan(f"SELECT price FROM trades WHERE message_id = '{one}'")
    by_time = seam.engine.plan("SELECT count(*) FROM trades WHERE timestamp < '2021-01-01'")

    assert sum(b.num_rows for b in plan.stream()) == 1
    assert sum(len(files) for files in by_time._files) == 0
    assert [r for b in by_time.stream() for r in b.to_pylist()] == [{"count(*)": 0}]


def test_a_statement_about_now_misses_no_file(seam: Joint) -> None:
    answer = seam.ask("SELECT count(*) AS n FROM trades WHERE timestamp < now()")

    assert answer.to_pylist() == [{"n": ALL}]


def test_a_text_that_is_asked_again_finds_the_files_that_came_since(seam: Joint) -> None:
    symbol = json.loads(MESSAGES[0])["symbol"]
    sql = f"SELECT count(*) AS n FROM trades_history WHERE symbol = '{symbol}'"
    before = seam.ask(sql)["n"][0].as_py()
    seam.commit(MESSAGES[2_000:2_500], 2_000)
    seam.refresh()

    expected = sum(json.loads(m)["symbol"] == symbol for m in MESSAGES[:2_500])
    assert before < expected
    assert seam.ask(sql).to_pylist() == [{"n": expected}]


def test_files_that_a_remembered_filter_would_leave_out_are_read_if_the_plan_needs_them(
    seam: Joint,
) -> None:
    engine = seam.engine
    sql = "SELECT count(*) AS n FROM trades_history WHERE _offset >= 100"
    nothing = engine.plan("SELECT count(*) FROM trades_history WHERE _offset < 0")
    filters = filters_by_scan(nothing._frame.optimized_logical_plan())
    engine._memory.keep(sql, filters)

    assert seam.ask(sql).to_pylist() == [{"n": 1_900}]
    assert str(engine._memory.recall(sql)) != str(filters)


def test_a_text_is_planned_again_as_soon_as_a_table_that_it_reads_went_on(joint: Joint) -> None:
    sql = "SELECT count(*) AS n FROM trades"
    joint.follow(MESSAGES[:100], 0)
    first, again = joint.engine.plan(sql), joint.engine.plan(sql)
    joint.follow(MESSAGES[100:200], 100)
    later = joint.engine.plan(sql)

    assert again._frame is first._frame
    assert later._frame is not first._frame
    answers = [next(iter(p.stream())).to_pylist() for p in (again, later, first)]
    assert answers == [[{"n": 100}], [{"n": 200}], [{"n": 100}]]
    assert json.loads(later.receipt) != json.loads(again.receipt)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT now() AS n",
        "SELECT today() AS n",
        "SELECT count(*) AS n FROM system.settings",
        "SELECT count(*) AS n FROM information_schema.tables",
    ],
)
def test_what_differs_without_another_view_is_planned_each_time(joint: Joint, sql: str) -> None:
    assert joint.engine.plan(sql)._frame is not joint.engine.plan(sql)._frame


def test_a_statement_that_ran_is_gone_at_once_with_what_it_read(joint: Joint) -> None:
    joint.follow(MESSAGES[:100], 0)
    gc.disable()  # nobody looks for cycles in time: they would keep batches of the tail
    try:
        plan = joint.engine.plan("SELECT count(*) FROM trades")
        assert [b.to_pylist() for b in plan.stream()] == [[{"count(*)": 100}]]
        left = weakref.ref(plan)
        del plan
        assert left() is None
    finally:
        gc.enable()


def test_plans_of_a_moment_ago_are_let_go(joint: Joint) -> None:
    joint.follow(MESSAGES[:100], 0)
    kept = joint.engine.plan("SELECT 1 AS n")._frame
    joint.engine._plans.purge(joint.engine._clock.monotonic_s() + 2.0)

    assert joint.engine.plan("SELECT 1 AS n")._frame is not kept


def test_filters_of_scalar_subqueries_do_not_prune_the_outer_scan(seam: Joint) -> None:
    answer = seam.ask(
        "SELECT count(*) AS n FROM trades WHERE timestamp >= "
        "(SELECT min(timestamp) FROM trades WHERE symbol = 'BTCUSDT')"
    )

    assert answer.to_pylist() == [{"n": ALL}]


def test_results_have_plain_types_whatever_the_statement_does(seam: Joint) -> None:
    answer = seam.ask(
        "SELECT symbol || '!' AS s, array_agg(side) AS a, string_agg(side, ',') AS g, "
        "arrow_cast(symbol, 'Dictionary(Int32, Utf8)') AS d "
        "FROM (SELECT * FROM trades LIMIT 10) GROUP BY symbol"
    )

    assert answer.schema.field("s").type == pa.string()
    assert answer.schema.field("a").type == pa.list_(pa.string())
    assert answer.schema.field("g").type == pa.string()
    assert answer.schema.field("d").type == pa.string()


def test_dead_letters_come_from_lake_and_tail_once(joint: Joint) -> None:
    poison = [b"{", None, b"", *MESSAGES[:7], b"[1]"]
    joint.follow(poison, 0)
    in_tail = joint.ask("SELECT _offset, reason, value FROM trades_dead ORDER BY _offset")
    joint.commit(poison[:2], 0)
    joint.refresh()
    split = joint.ask("SELECT _offset, reason, value FROM trades_dead ORDER BY _offset")

    assert [r["_offset"] for r in in_tail.to_pylist()] == [0, 1, 2, 10]
    assert in_tail["reason"][1].as_py() == "tombstone"
    assert split == in_tail


def test_the_sidecar_being_ahead_shows_no_dead_letter_beyond_the_cut(joint: Joint) -> None:
    joint.follow(MESSAGES[:5], 0)
    joint.commit([*MESSAGES[:5], b"{"], 0)
    joint.publisher.on_lake(joint.lake.refresh(), joint.dead_lake.refresh())

    answer = joint.ask(
        "SELECT (SELECT count(*) FROM trades_dead) AS dead, "
        "(SELECT max(cut_offset) FROM system.cut) AS cut"
    )
    assert answer.to_pylist() == [{"dead": 1, "cut": 6}]


def test_a_table_that_cannot_be_read_now_fails_only_statements_that_name_it(joint: Joint) -> None:
    joint.publisher.on_broken("the log is being read again")

    assert joint.ask("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    with pytest.raises(UnavailableError, match=r"^the log is being read again$"):
        joint.ask("SELECT * FROM trades")
    answer = joint.ask("SELECT * FROM system.tables")
    assert answer["reason"].to_pylist() == ["the log is being read again"]


def test_the_receipt_names_snapshot_cut_and_state(seam: Joint) -> None:
    receipt = json.loads(seam.engine.plan("SELECT count(*) FROM trades").receipt)

    trades = receipt["tables"]["trades"]
    assert trades["cut"] == {"0": {"HIGH": ALL, "MEDIUM": ALL, "LOW": ALL}}
    assert trades["lake"] == {"0": {"HIGH": 2_000, "MEDIUM": 2_000, "LOW": 2_000}}
    assert trades["commit_id"] == "commit-2000"
    assert trades["snapshot_id"] == str(seam.lake.refresh().snapshot_id)
    assert receipt["state"] == trades["state"]


def test_a_statement_without_tables_has_an_empty_receipt(seam: Joint) -> None:
    receipt = json.loads(seam.engine.plan("SELECT 1").receipt)

    assert receipt["tables"] == {}
    assert receipt["state"] == "complete"


def test_a_missing_data_file_fails_the_statement(seam: Joint) -> None:
    plan = seam.engine.plan("SELECT sum(price) FROM trades")
    data = sorted(seam.folder.rglob("*.parquet"))
    next(p for p in data if "/trades/" in str(p)).unlink()

    with pytest.raises(UnavailableError) as raised:
        list(plan.stream())
    assert str(seam.folder) not in str(raised.value)
    with pytest.raises(UnavailableError):
        seam.ask("SELECT sum(price) FROM trades")


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1", RequestError),
        ("SELECT nope FROM trades", RequestError),
        ("SELECT * FROM nope", RequestError),
        ("SELECT 1; SELECT 2", RequestError),
        ("", RequestError),
        ("SET datafusion.execution.batch_size = 1", RequestError),
        ("DROP TABLE trades", ReadOnlyError),
        ("CREATE VIEW v AS SELECT 1", ReadOnlyError),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", ReadOnlyError),
        ("INSERT INTO trades SELECT * FROM trades", ReadOnlyError),
        ("DELETE FROM trades", ReadOnlyError),
        ("COPY (SELECT 1) TO '/tmp/x.parquet'", ReadOnlyError),
        ("EXPLAIN ANALYZE INSERT INTO trades SELECT * FROM trades", ReadOnlyError),
        ("SELECT * FROM '/etc/passwd'", RequestError),
        ("SELECT CAST('x' AS INT)", RequestError),
        ("SELECT 1 / (count(*) - count(*)) FROM trades", RequestError),
    ],
)
def test_wrong_statements_get_the_engines_words(
    seam: Joint, sql: str, error: type[HighwaterError]
) -> None:
    with pytest.raises(error) as raised:
        seam.ask(sql)
    assert str(raised.value)
    assert "site-packages" not in str(raised.value)
    assert "/root" not in str(raised.value)


def test_parameters_are_typed_and_bound(seam: Joint) -> None:
    sql = "SELECT count(*) AS n FROM trades WHERE symbol = $1 AND price > $2 AND timestamp < $3"
    schema = seam.engine.parameters(sql)
    values = {"$1": pa.scalar("BTCUSDT"), "$2": pa.scalar(0), "$3": pa.scalar("2022-01-01")}
    plan = seam.engine.plan(sql, values)

    assert schema == pa.schema(
        [
            ("$1", pa.string()),
            ("$2", pa.decimal128(18, 8)),
            ("$3", pa.timestamp("ms", tz="UTC")),
        ]
    )
    assert [r for b in plan.stream() for r in b.to_pylist()] == [{"n": 2_001}]


@pytest.mark.parametrize(
    ("sql", "types"),
    [
        ("SELECT symbol FROM trades GROUP BY symbol HAVING count(*) > $1", [pa.int64()]),
        (
            "SELECT 1 FROM trades WHERE side IN (SELECT side FROM trades_tail WHERE price < $1)",
            [pa.decimal128(18, 8)],
        ),
        ("SELECT $1::date", [pa.date32()]),
        ("SELECT $1::time, $2::timestamp", [pa.time32("ms"), pa.timestamp("ms")]),
        ("SELECT * FROM trades LIMIT $2 OFFSET $1", [pa.int64(), pa.int64()]),
        ("SELECT * FROM trades WHERE timestamp > now() - $1", [pa.timestamp("ms")]),
        ("SELECT $1", [pa.string()]),
    ],
)
def test_types_of_parameters_are_what_the_engine_makes_of_them(
    joint: Joint, sql: str, types: list[pa.DataType]
) -> None:
    assert joint.engine.parameters(sql).types == types


def test_rows_of_values_are_run_over_one_cut(joint: Joint) -> None:
    joint.follow(MESSAGES[:1000], 0)
    joint.commit(MESSAGES[:500], 0)
    joint.refresh()
    rows = [{"$1": pa.scalar(limit)} for limit in (3, 0, 2)]
    plan = joint.engine.plan_rows("SELECT count(*) AS n, $1 AS x FROM trades", rows)
    once = joint.ask("SELECT count(*) AS n FROM trades")["n"][0].as_py()
    joint.follow(MESSAGES[1000:], 1000)
    joint.commit(MESSAGES[500:1500], 500)
    joint.refresh()

    for _ in range(2):
        answer = pa.Table.from_batches(plan.stream(), schema=plan.schema)
        assert answer.to_pylist() == [{"n": once, "x": limit} for limit in (3, 0, 2)]
    assert joint.ask("SELECT count(*) AS n FROM trades")["n"][0].as_py() > once
    assert list(json.loads(plan.receipt)["tables"]) == ["trades"]


def test_system_tables_show_the_same_view(seam: Joint) -> None:
    chunks = seam.ask("SELECT sum(rows) AS n FROM system.tail_chunks")
    snapshots = seam.ask("SELECT count(*) AS n, sum(added_rows) AS rows FROM system.snapshots")
    settings = seam.ask("SELECT value FROM system.settings WHERE name = 'namespace'")
    tables = seam.ask("SELECT * FROM system.tables")

    assert chunks.to_pylist() == [{"n": ALL}]
    assert snapshots.to_pylist() == [{"n": 4, "rows": 2_000}]
    assert settings.to_pylist() == [{"value": "public"}]
    assert tables.to_pylist() == [{"table": "trades", "available": True, "reason": ""}]


def test_information_schema_lists_the_tables(seam: Joint) -> None:
    answer = seam.ask(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    )

    assert answer["table_name"].to_pylist() == [
        "trades",
        "trades_dead",
        "trades_history",
        "trades_tail",
    ]


def test_listed_schemas_are_those_that_answers_have(seam: Joint) -> None:
    for table in seam.engine.tables():
        answer = seam.engine.plan(f"SELECT * FROM {table.schema}.{table.name}")

        assert answer.schema == table.arrow_schema, table.name
