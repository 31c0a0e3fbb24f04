"""Queries and prepared statements through the stock ADBC driver."""

from __future__ import annotations

import datetime
import decimal
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pytest

from flight_server.handlers.service import FlightSqlService
from flight_server.protocol.limits import ProtocolLimits
from tests.support.flight_fixture import SmallEngine, connected, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_select_gives_its_rows(cursor: Any) -> None:
    """9"""
    cursor.execute("select 1 as x")

    assert cursor.fetchall() == [(1,)]


def test_prepared_sql_is_planned_anew_for_each_value(
    cursor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10"""
    prepared: list[bytes] = []
    original = FlightSqlService.act

    def act(self: FlightSqlService, name: str, body: bytes, call: Any) -> list[bytes]:
        prepared.extend([body] * (name == "CreatePreparedStatement"))
        return original(self, name, body, call)

    monkeypatch.setattr(FlightSqlService, "act", act)
    sql = "select s from t where a = ?"
    cursor.execute(sql, (2,))
    second = cursor.fetchall()
    cursor.execute(sql, (3,))

    assert (second, cursor.fetchall()) == ([("y",)], [("z%",)])
    assert len(prepared) == 1


def test_numbered_placeholders_are_bound(cursor: Any) -> None:
    """11"""
    cursor.execute("select a from t where s = $1", ("y",))

    assert cursor.fetchall() == [(2,)]


def test_question_marks_in_text_are_not_parameters(cursor: Any) -> None:
    """12"""
    cursor.execute("""select '?' as "a?", /* ? /* ? */ */ $$?$$ as b, ? as c -- ?""", (7,))

    assert cursor.fetch_arrow_table().to_pylist() == [{"a?": "?", "b": "?", "c": 7}]


@pytest.mark.parametrize(
    "value",
    [
        pa.scalar(5, pa.int32()),
        pa.scalar(datetime.date(2026, 1, 2)),
        pa.scalar(1_767_322_445_000_006, pa.timestamp("us")),
        pa.scalar(decimal.Decimal("1.50"), pa.decimal128(18, 8)),
        pa.scalar(b"\x00\xff"),
        pa.scalar(True),
        pa.scalar(None, pa.int64()),
    ],
    ids=lambda value: str(value.type),
)
def test_bound_values_keep_their_type(cursor: Any, value: pa.Scalar) -> None:
    """13"""
    cursor.execute("select $1 as v", pa.record_batch({"0": pa.array([value.as_py()], value.type)}))

    table = cursor.fetch_arrow_table()

    assert table.schema.field("v").type == value.type
    assert table["v"][0].equals(value)


def test_dictionary_values_are_bound_as_their_values(cursor: Any) -> None:
    """13"""
    words = pa.array(["y"]).dictionary_encode()
    cursor.execute("select a from t where s = ?", pa.record_batch({"0": words}))

    assert cursor.fetchall() == [(2,)]


def test_results_of_several_parameter_rows_follow_one_another(cursor: Any) -> None:
    """14"""
    cursor.execute("select a from t where a <> ? order by a", pa.record_batch({"0": [1, 2, 3]}))

    assert cursor.fetchall() == [(2,), (3,), (1,), (3,), (1,), (2,)]


def test_missing_parameters_are_named(cursor: Any) -> None:
    with pytest.raises(adbc.ProgrammingError, match="1 parameters and none are bound"):
        cursor.execute("select a from t where a = ?")


def test_prepare_describes_the_parameters(cursor: Any) -> None:
    """18"""
    schema = cursor.adbc_prepare("select * from t where a = ? limit ?")

    assert schema == pa.schema([("$1", pa.int64()), ("$2", pa.int64())])
    assert all(field.nullable for field in schema)


def test_schema_comes_without_execution(cursor: Any, engine: SmallEngine) -> None:
    """19"""
    sql = "select *, v || '!' as w from kinds"
    before = engine.open_streams
    schema = cursor.adbc_execute_schema(sql)

    cursor.execute(sql)

    assert cursor.fetch_arrow_table().schema.equals(schema)
    assert engine.open_streams == before


def test_receipt_comes_with_the_result_schema(cursor: Any) -> None:
    cursor.execute("select a from t")

    metadata = cursor.fetch_arrow_table().schema.metadata

    assert json.loads(metadata[b"highwater.receipt"])["plan"] >= 1


def test_dictionaries_and_views_arrive_as_strings(cursor: Any) -> None:
    """46"""
    cursor.execute(
        "select d from kinds union all select s from kinds union all select v from kinds"
    )

    table = cursor.fetch_arrow_table()

    assert table.schema.field(0).type == pa.string()
    assert table.num_rows == 9


def test_empty_result_has_its_schema(cursor: Any) -> None:
    cursor.execute("select a, s from t where a > 100")

    assert cursor.fetch_arrow_table().schema == pa.schema([("a", pa.int64()), ("s", pa.string())])


@pytest.mark.parametrize("sql", ["explain select * from t", "show tables", "describe t"])
def test_statements_about_queries_give_rows(cursor: Any, sql: str) -> None:
    cursor.execute(sql)

    assert cursor.fetchall()


def test_one_trailing_semicolon_is_fine(cursor: Any) -> None:
    """50, 51"""
    cursor.execute("select 1 as x; ")

    assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; drop table t",
        "drop table t",
        "set datafusion.execution.batch_size = 1",
        "copy t to 'x.csv'",
        "explain analyze insert into t values (9, 'w')",
        "create table x as select 1",
        "insert into t values (9, 'w')",
        "begin",
        "",
        "-- nothing",
        "selec 1",
        "select nope from t",
        "select * from missing",
    ],
)
def test_wrong_and_writing_sql_is_refused_before_it_runs(cursor: Any, sql: str) -> None:
    """50"""
    with pytest.raises(adbc.Error) as caught:
        cursor.execute(sql)

    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)
    cursor.execute("select count(*) from t")
    assert cursor.fetchall() == [(3,)]


def test_writing_sql_is_a_question_of_permission(cursor: Any) -> None:
    with pytest.raises(adbc.Error, match=r"FORBIDDEN|UNAUTHORIZED|PermissionDenied"):
        cursor.execute("drop table t")


def test_statements_of_many_connections_run_at_once(connection: Any) -> None:
    """51: TestConcurrentStatements"""

    def ask(number: int) -> list[tuple[int]]:
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from many where n < ?", (number,))
            rows: list[tuple[int]] = cursor.fetchall()
            return rows

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(100)))

    assert answers == [[(number,)] for number in range(100)]


def test_uploads_without_end_are_cut_off(engine: SmallEngine) -> None:
    limits = ProtocolLimits(upload_bytes_max=100_000)
    batch = pa.record_batch({"n": pa.array(range(1000), pa.int64())})
    with serving(engine, limits) as server, connected(server.port) as connection:
        cursor = connection.cursor()
        with pytest.raises(adbc.Error, match="upload is larger than 100000 bytes"):
            cursor.adbc_ingest("fresh", pa.Table.from_batches([batch] * 20))
        cursor.close()


@pytest.fixture
def wide_server() -> Iterator[Any]:
    """One batch of 5 MiB, 20 MiB in all."""
    engine = SmallEngine()
    text = pa.array(["w" * 1000] * 21_000)
    engine.add("wide", pa.table({"n": pa.array(range(21_000)), "s": text}))
    with serving(engine) as server:
        yield server


def test_wide_results_arrive_with_default_client_limits(wide_server: Any) -> None:
    """45"""
    with connected(wide_server.port) as connection, connection.cursor() as cursor:
        cursor.execute("select * from wide")
        table = cursor.fetch_arrow_table()

    assert table.num_rows == 21_000
    assert max(batch.nbytes for batch in table.to_batches()) <= 2 << 20
