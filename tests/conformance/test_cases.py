"""The cases of `cases/*.toml`, over ADBC and over raw Flight."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pytest
from adbc_driver_manager import AdbcStatusCode
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from tests.support.flight_fixture import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.joint import Joint

_ALL: list[dict[str, Any]] = [
    case
    for path in sorted((Path(__file__).parent / "cases").glob("*.toml"))
    for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]
]


def _named(cases: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(case, id=f"{case['number']}-{case['name'].replace(' ', '-')}")
        for case in cases
    ]


CASES = _named(_ALL)
OVER_ADBC = _named([c for c in _ALL if c.keys() & {"sql", "prepare"} and "over" not in c])

_ADBC_NAMES = {
    AdbcStatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
    AdbcStatusCode.NOT_FOUND: "NOT_FOUND",
    AdbcStatusCode.UNAUTHORIZED: "PERMISSION_DENIED",
    AdbcStatusCode.NOT_IMPLEMENTED: "UNIMPLEMENTED",
}
_FLIGHT_NAMES = (
    (pa.ArrowInvalid, "INVALID_ARGUMENT"),
    (KeyError, "NOT_FOUND"),
    (flight.FlightUnauthorizedError, "PERMISSION_DENIED"),
    (NotImplementedError, "UNIMPLEMENTED"),
)


@dataclass(frozen=True)
class RefusedError(Exception):
    status: str
    text: str


class Driver(Protocol):
    """One way to reach the server."""

    def query(self, sql: str, parameters: list[list[Any]]) -> pa.Table: ...

    def prepare(self, sql: str) -> pa.Schema: ...


class Adbc:
    """The stock driver, as its Python users use it."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def query(self, sql: str, parameters: list[list[Any]]) -> pa.Table:
        try:
            if parameters:
                self._cursor.execute(sql, _batch(parameters))
            else:
                self._cursor.execute(sql)
            return self._cursor.fetch_arrow_table()
        except adbc.Error as error:
            raise _from_adbc(error) from error

    def prepare(self, sql: str) -> pa.Schema:
        try:
            return self._cursor.adbc_prepare(sql)
        except adbc.Error as error:
            raise _from_adbc(error) from error


class Raw:
    """pyarrow.flight alone; it also sees that all schemas of one answer agree."""

    def __init__(self, client: flight.FlightClient) -> None:
        self._client = client

    def query(self, sql: str, parameters: list[list[Any]]) -> pa.Table:
        command: Any = commands.StatementQuery(sql)
        if parameters:
            command = commands.PreparedStatementQuery(self._prepared(sql)[0])
            self._bind(command, _batch(parameters))
        return self.command(commands.encode(command))

    def prepare(self, sql: str) -> pa.Schema:
        return self._prepared(sql)[1]

    def command(self, command: bytes) -> pa.Table:
        descriptor = flight.FlightDescriptor.for_command(command)
        try:
            info = self._client.get_flight_info(descriptor)
            (endpoint,) = info.endpoints
            rows = self._client.do_get(endpoint.ticket).read_all()
            assert rows.schema.equals(info.schema)
            assert endpoint.locations == []
            if b"Prepared" not in command:  # bound values may decide what its schema is
                assert self._client.get_schema(descriptor).schema.equals(rows.schema)
            return rows
        except Exception as error:
            raise _from_flight(error) from error

    def _prepared(self, sql: str) -> tuple[bytes, pa.Schema]:
        body = commands.encode(commands.CreatePreparedStatement(sql))
        try:
            (answer,) = self._client.do_action(flight.Action("CreatePreparedStatement", body))
        except Exception as error:
            raise _from_flight(error) from error
        wrapped = AnyMessage.FromString(answer.body.to_pybytes())
        result = pb.ActionCreatePreparedStatementResult.FromString(wrapped.value)
        schema = pa.ipc.read_schema(pa.py_buffer(result.parameter_schema))
        return result.prepared_statement_handle, schema

    def _bind(self, command: commands.PreparedStatementQuery, batch: pa.RecordBatch) -> None:
        descriptor = flight.FlightDescriptor.for_command(commands.encode(command))
        writer, reader = self._client.do_put(descriptor, batch.schema)
        with writer:
            writer.write_batch(batch)
            writer.done_writing()
            reply = pb.DoPutPreparedStatementResult.FromString(reader.read().to_pybytes())
        assert reply.prepared_statement_handle == command.prepared_statement_handle


@pytest.fixture(scope="module")
def ports(live: Joint, server: Any) -> Iterator[dict[str, int]]:
    with serving(live.engine) as running:
        yield {"live": running.port, "sample": server.port}


@pytest.fixture
def raw(ports: dict[str, int], case: dict[str, Any]) -> Iterator[Raw]:
    port = ports[case.get("server", "live")]
    with flight.connect(f"grpc://127.0.0.1:{port}") as client:
        yield Raw(client)


@pytest.fixture
def stock(ports: dict[str, int], case: dict[str, Any]) -> Iterator[Adbc]:
    port = ports[case.get("server", "live")]
    with (
        adbc.connect(f"grpc://127.0.0.1:{port}", autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        yield Adbc(cursor)


@pytest.mark.parametrize("case", OVER_ADBC)
def test_case_over_adbc(stock: Adbc, case: dict[str, Any]) -> None:
    _check(case, stock)


@pytest.mark.parametrize("case", CASES)
def test_case_over_flight(raw: Raw, case: dict[str, Any]) -> None:
    _check(case, raw)


def _check(case: dict[str, Any], driver: Driver) -> None:
    if "status" in case:
        with pytest.raises(RefusedError) as refused:
            _ask(case, driver)
        assert refused.value.status in case["status"].split("|"), refused.value
        assert re.search(case.get("says", ""), refused.value.text)
        assert "Traceback" not in refused.value.text
        assert ".py" not in refused.value.text
        return
    answer = _ask(case, driver)
    if isinstance(answer, pa.Schema):
        names = [f"${number}" for number in range(1, len(answer) + 1)]
        assert [f"{name}: {kind}" for name, kind in zip(names, answer.types, strict=True)] == (
            case["expects"]
        )
        assert all(field.nullable for field in answer)
        return
    if "schema" in case:
        assert [
            str(field).removeprefix("pyarrow.Field<").removesuffix(">") for field in answer.schema
        ] == (case["schema"])
    if "rows" in case:
        assert _rows(answer) == case["rows"]
    assert answer.num_rows == case.get("count", answer.num_rows)


def _ask(case: dict[str, Any], driver: Driver) -> pa.Table | pa.Schema:
    if "sql" in case:
        return driver.query(case["sql"], case.get("parameters", []))
    if "prepare" in case:
        return driver.prepare(case["prepare"])
    assert isinstance(driver, Raw)
    if "bytes" in case:
        return driver.command(bytes.fromhex(case["bytes"]))
    fields = {
        name: value.encode() if name.endswith(("_handle", "_id")) else value
        for name, value in case.get("fields", {}).items()
    }
    return driver.command(commands.encode(getattr(commands, case["command"])(**fields)))


def _batch(rows: list[list[Any]]) -> pa.RecordBatch:
    columns = [pa.array(list(column)) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, [str(i) for i in range(len(columns))])


def _rows(table: pa.Table) -> list[list[Any]]:
    columns = [[_plain(value) for value in column.to_pylist()] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    if value is None:
        return "null"
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float)) else str(value)


def _from_adbc(error: adbc.Error) -> RefusedError:
    code = error.status_code
    return RefusedError(_ADBC_NAMES.get(code, str(code)), str(error))


def _from_flight(error: Exception) -> RefusedError:
    names = [name for kind, name in _FLIGHT_NAMES if isinstance(error, kind)]
    return RefusedError(next(iter(names), type(error).__name__), str(error))
