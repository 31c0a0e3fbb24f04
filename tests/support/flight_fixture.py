"""A small real engine over DataFusion, and a Flight SQL server on a free port of loopback."""

from __future__ import annotations

import json
import re
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import datafusion
import pyarrow as pa

from contract.clock import SystemClock
from contract.errors import ReadOnlyError, RequestError
from flight_server.ports import UNWATCHED, TableInfo
from flight_server.protocol.limits import ProtocolLimits
from flight_server.query.rows import RowsPlan
from flight_server.security.listening import load_tls, location
from flight_server.security.setup import make_callers
from flight_server.server import HighwaterFlightServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from contract.clock import Clock
    from flight_server.cut.request import CutRequest
    from flight_server.ports import Asker, Engine, Watch
    from flight_server.running import Queries
    from flight_server.security.config import SecuritySettings
    from flight_server.security.identity import Identity

_PLACEHOLDER = re.compile(
    r'Placeholder \{ id: "(\$\w+)", field: (?:None|Some\(Field \{ name: ".*?", data_type: (\w+))'
)
_LIMIT = re.compile(r'(?:skip|fetch): Some\(Placeholder\(Placeholder \{ id: "(\$\w+)"')
_TYPES = {"Int64": pa.int64(), "Int32": pa.int32(), "Float64": pa.float64(), "Date32": pa.date32()}


def new_id() -> bytes:
    """A handle that nobody can guess."""
    return secrets.token_bytes(16)


def normalise(kind: pa.DataType) -> pa.DataType:
    """The type as it is streamed; enough of it for the tables of these tests."""
    if pa.types.is_dictionary(kind):
        return normalise(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(kind.value_field.with_type(normalise(kind.value_type)))
    return kind


def _normalised(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(normalise(field.type)) for field in schema])


class SmallPin:
    """The tables in memory never change: every cut of them is the same."""

    pinned_bytes = 0


class SmallPlan:
    """A DataFusion plan; it counts the streams that are open."""

    pinned_bytes = 0

    def __init__(self, frame: datafusion.DataFrame, engine: SmallEngine) -> None:
        self._frame = frame
        self._engine = engine
        self.schema = _normalised(frame.schema())
        self.receipt = json.dumps({"plan": engine.count_plan()})

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        self._engine.opened()
        try:
            for batch in self._frame.execute_stream():
                yield batch.to_pyarrow().cast(self.schema)
        except ValueError as error:
            raise RequestError(str(error)) from None
        finally:
            self._engine.closed()


class SmallEngine:
    """SQL over a few tables in memory."""

    def __init__(self) -> None:
        config = (
            datafusion.SessionConfig()
            .with_information_schema(enabled=True)
            .with_default_catalog_and_schema("highwater", "public")
            .with_create_default_catalog_and_schema(enabled=True)
            .set("datafusion.sql_parser.map_string_types_to_utf8view", "false")
        )
        self.context = datafusion.SessionContext(config)
        self.options = (
            datafusion.SQLOptions()
            .with_allow_ddl(allow=False)
            .with_allow_dml(allow=False)
            .with_allow_statements(allow=False)
        )
        self.open_streams = 0
        self.plans = 0
        self._infos: list[TableInfo] = []
        self._lock = threading.Lock()
        catalog = self.context.catalog("highwater")
        catalog.register_schema("system", datafusion.catalog.Schema.memory_schema())

    def add(self, name: str, table: pa.Table, schema: str = "public", kind: str = "TABLE") -> None:
        frame = self.context.from_arrow(table)
        self.context.catalog("highwater").schema(schema).register_table(name, frame)
        info = TableInfo("highwater", schema, name, kind, _normalised(table.schema))
        self._infos.append(info)

    def pin(
        self,
        request: CutRequest | None,
        sql: str | None,
        asker: Asker,
        given_up: Callable[[], bool],
    ) -> SmallPin:
        return SmallPin()

    def plan(self, sql: str, parameters: Mapping[str, pa.Scalar] | None, asker: Asker) -> SmallPlan:
        values = {name.removeprefix("$"): value for name, value in (parameters or {}).items()}
        try:
            frame = self.context.sql_with_options(sql, self.options, param_values=values)
            return SmallPlan(frame, self)
        except Exception as error:  # noqa: BLE001 - DataFusion raises this very class
            kind = RequestError
            if "DDL not supported" in str(error) or "DML not supported" in str(error):
                kind = ReadOnlyError
            raise kind(str(error)) from None

    def plan_rows(
        self, sql: str, rows: Sequence[Mapping[str, pa.Scalar]], asker: Asker
    ) -> RowsPlan:
        return RowsPlan(lambda values: self.plan(sql, values, asker), rows)

    def parameters(self, sql: str, asker: Asker) -> pa.Schema:
        try:
            text = str(self.context.sql_with_options(sql, self.options).logical_plan())
        except Exception as error:  # noqa: BLE001 - DataFusion raises this very class
            raise RequestError(str(error)) from None
        types = {name: _TYPES.get(kind, pa.string()) for name, kind in _PLACEHOLDER.findall(text)}
        types |= dict.fromkeys(_LIMIT.findall(text), pa.int64())
        return pa.schema([pa.field(name, types[name]) for name in sorted(types)])

    def tables(self, identity: Identity) -> Sequence[TableInfo]:
        return tuple(self._infos)

    def count_plan(self) -> int:
        with self._lock:
            self.plans += 1
            return self.plans

    def opened(self) -> None:
        with self._lock:
            self.open_streams += 1

    def closed(self) -> None:
        with self._lock:
            self.open_streams -= 1


def sample_engine() -> SmallEngine:
    """`t`, siblings `a_b` and `axb`, `kinds` of many types, `many` rows, and a system table."""
    engine = SmallEngine()
    engine.add("t", pa.table({"a": [1, 2, 3], "s": ["x", "y", "z%"]}))
    engine.add("axb", pa.table({"other": [1.5]}))
    engine.add("a_b", pa.table({"right": [1]}))
    engine.add(
        "kinds",
        pa.table(
            {
                "d": pa.array(["p", "q", "p"]).dictionary_encode(),
                "s": pa.array(["p", "r", None]),
                "v": pa.array(["long enough to be no inline view", "b", "c"], pa.string_view()),
                "price": pa.array([1, 2, 3]).cast(pa.decimal128(19, 0)).cast(pa.decimal128(18, 8)),
                "at": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
            }
        ),
    )
    engine.add("many", pa.table({"n": pa.array(range(1_000_000), pa.int64())}), kind="VIEW")
    engine.add("cut", pa.table({"lane": [0]}), schema="system", kind="SYSTEM TABLE")
    return engine


@contextmanager
def serving(
    engine: Engine,
    limits: ProtocolLimits | None = None,
    clock: Clock | None = None,
    server_type: Callable[..., Any] = HighwaterFlightServer,
    security: SecuritySettings | None = None,
    queries: Queries | None = None,
) -> Iterator[Any]:
    """A running server; `server.port` is where."""
    clock, tls, extra = clock or SystemClock(), None, {}
    if security is not None:
        tls = load_tls(security)
        extra = {"tls": tls, "callers": make_callers(security, clock, new_id)}
    server = server_type(
        location("127.0.0.1", 0, tls),
        engine,
        clock=clock,
        new_id=new_id,
        **extra,
        queries=queries,
        limits=limits or ProtocolLimits(),
    )
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def connected(port: int, **options: str) -> Iterator[Any]:
    """A stock ADBC connection. It warns about nothing: autocommit is off, in a transaction."""
    with adbc.connect(f"grpc://127.0.0.1:{port}", db_kwargs=options) as connection:
        yield connection
