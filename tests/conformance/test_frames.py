"""pandas, polars and DuckDB over ADBC."""

from __future__ import annotations

from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.security.identity import EVERYBODY
from tests.support.flight_fixture import SmallEngine, connected


def test_pandas_reads_a_query_of_100_kb(connection: Any) -> None:
    """25: pandas sends the whole text as a table name pattern first"""
    sql = f"select s from t where s like '%a%b%c%d%' or s = 'y' -- {'%_' * 50_000}"

    frame = pd.read_sql(sql, connection)

    assert frame["s"].tolist() == ["y"]


def test_pandas_reads_a_table(connection: Any) -> None:
    """26"""
    frame = pd.read_sql_table("t", connection, schema="public")

    assert frame["a"].tolist() == [1, 2, 3]


def test_polars_reads_with_parameters(connection: Any) -> None:
    """27"""
    frame = pl.read_database(
        "select a from t where s = ?", connection, execute_options={"parameters": ["y"]}
    )

    assert frame["a"].to_list() == [2]


def test_polars_reads_in_batches(connection: Any) -> None:
    """27"""
    frames = list(
        pl.read_database("select n from many", connection, iter_batches=True, batch_size=100_000)
    )

    assert sum(len(frame) for frame in frames) == 1_000_000


def test_polars_reads_by_uri(server: Any) -> None:
    """28"""
    uri = f"flightsql://127.0.0.1:{server.port}?transport=tcp"
    frame = pl.read_database_uri("select a from t", uri, engine="adbc")

    assert frame["a"].to_list() == [1, 2, 3]


def test_duckdb_reads_the_record_batch_reader(cursor: Any) -> None:
    cursor.execute("select n from many")
    reader = cursor.fetch_record_batch()

    answer = duckdb.connect().execute("select count(*), sum(n) from reader").fetchall()

    assert reader is not None
    assert answer == [(1_000_000, 499_999_500_000)]


def test_polars_writes_are_refused_in_words(connection: Any) -> None:
    """29"""
    with pytest.raises(adbc.Error, match="read-only"):
        pl.DataFrame({"n": range(3)}).write_database("fresh", connection, engine="adbc")


def test_large_uploads_are_refused_in_words(cursor: Any) -> None:
    """29: 100 MB are read to their end, or the client would see only a broken stream"""
    batch = pa.record_batch({"n": pa.array(range(125_000), pa.int64())})

    with pytest.raises(adbc.Error, match="read-only"):
        cursor.adbc_ingest("fresh", pa.Table.from_batches([batch] * 100))


def test_a_cancelled_ingest_leaves_nothing(
    client: flight.FlightClient, server: Any, engine: SmallEngine
) -> None:
    """30"""
    before = engine.tables(EVERYBODY)
    command = commands.encode(commands.StatementIngest("t"))
    batch = pa.record_batch({"a": [7], "s": ["new"]})
    options = flight.FlightCallOptions(timeout=0.5)
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(command), batch.schema, options)
    for _ in range(3):
        writer.write_batch(batch)
    with pytest.raises(pa.ArrowException, match=r"(?i)deadline|timed out|read-only"):
        writer.close()  # the deadline of the client passes first, or the server has refused it

    assert engine.tables(EVERYBODY) == before
    with connected(server.port) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) as n from t where s = 'new'")
        assert cursor.fetchall() == [(0,)]


def test_pandas_writes_are_refused_in_words(connection: Any) -> None:
    """29"""
    with pytest.raises(pd.errors.DatabaseError) as caught:
        pd.DataFrame({"n": [1]}).to_sql("fresh", connection, index=False)

    assert "read-only" in str(caught.value.__cause__)


def test_updates_are_refused_in_words(connection: Any) -> None:
    """29: executemany goes through CommandPreparedStatementUpdate"""
    with connection.cursor() as cursor, pytest.raises(adbc.Error, match="read-only"):
        cursor.executemany("select a from t where a = ?", [(1,), (2,)])
