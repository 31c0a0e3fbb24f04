"""No statement reaches a file, an address, a variable or a setting: tried, as data says."""

from __future__ import annotations

import http.server
import threading
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from flight_server.protocol import commands
from tests.support.flight_fixture import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.joint import Joint

SECRET = "what only the files hold"
ATTEMPTS = tomllib.loads((Path(__file__).parent / "attempts.toml").read_text())["attempt"]
REFUSED = [(sql, each["refused"]) for each in ATTEMPTS if "refused" in each for sql in each["sql"]]
HARMLESS = [(sql, each["rows"]) for each in ATTEMPTS if "rows" in each for sql in each["sql"]]


class _Trap(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Lair:
    """A server with files and an address in its reach. Everybody there may do everything."""

    folder: Path
    names: dict[str, str]
    asked: list[str]
    port: int

    def untouched(self) -> bool:
        made = {path.name for path in self.folder.iterdir()}
        return made == {"x.parquet", "x.csv", "x.json"} and not self.asked


@pytest.fixture(scope="module")
def lair(joint: Joint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lair]:
    folder = tmp_path_factory.mktemp("lair")
    pq.write_table(pa.table({"price": [SECRET]}), folder / "x.parquet")
    (folder / "x.csv").write_text(f"price\n{SECRET}\n")
    (folder / "x.json").write_text(f'{{"price": "{SECRET}"}}\n')
    asked: list[str] = []
    trap = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Trap", (_Trap,), {"asked": asked})
    )
    threading.Thread(target=trap.serve_forever, daemon=True).start()
    names = {kind: str(folder / f"x.{kind}") for kind in ("parquet", "csv", "json")}
    names |= {"out": str(folder / "out.parquet"), "url": f"http://127.0.0.1:{trap.server_port}"}
    try:
        with serving(joint.engine) as server, pytest.MonkeyPatch.context() as environ:
            environ.setenv("HIGHWATER_SECRET", SECRET)
            yield Lair(folder, names, asked, server.port)
    finally:
        trap.shutdown()
        trap.server_close()


@pytest.fixture(scope="module")
def connection(lair: Lair) -> Iterator[Any]:
    with adbc.connect(f"grpc://127.0.0.1:{lair.port}", autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(lair: Lair) -> Iterator[flight.FlightClient]:
    with flight.connect(f"grpc://127.0.0.1:{lair.port}") as opened:
        yield opened


def filled(sql: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        sql = sql.replace(f"{{{name}}}", value)
    return sql


def prepared(connection: Any, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def unprepared(client: flight.FlightClient, sql: str) -> pa.Table:
    command = commands.encode(commands.StatementQuery(sql))
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    return client.do_get(info.endpoints[0].ticket).read_all()


@pytest.mark.parametrize(("sql", "refused"), REFUSED, ids=[sql for sql, _ in REFUSED])
def test_an_attempt_is_refused_and_leaves_no_trace(
    lair: Lair, connection: Any, client: flight.FlightClient, sql: str, refused: str
) -> None:
    text = filled(sql, lair.names)

    with pytest.raises(adbc.Error, match=refused) as by_adbc:
        prepared(connection, text)
    with pytest.raises((pa.ArrowException, flight.FlightError, KeyError), match=refused) as by_call:
        unprepared(client, text)

    for raised in (by_adbc, by_call):
        assert SECRET not in str(raised.value)
        assert "Traceback" not in str(raised.value)
    assert lair.untouched()


@pytest.mark.parametrize(("sql", "rows"), HARMLESS, ids=[sql for sql, _ in HARMLESS])
def test_what_is_harmless_answers_at_once(connection: Any, sql: str, rows: int) -> None:
    assert len(prepared(connection, sql)) == rows


def test_after_all_attempts_the_tables_and_settings_are_what_they_were(
    lair: Lair, connection: Any
) -> None:
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"

    assert prepared(connection, "SELECT count(*) FROM trades") == [(100,)]
    assert {name for (name,) in prepared(connection, tables)} == {
        "trades",
        "trades_history",
        "trades_tail",
        "trades_dead",
    }
    assert prepared(connection, "SHOW datafusion.execution.batch_size")[0][1] == "8192"
    assert lair.untouched()


def test_the_files_could_be_read_if_a_statement_could_name_them(lair: Lair, joint: Joint) -> None:
    """Else the attempts would prove nothing."""
    other = joint.engine._session.ctx.enable_url_table()
    name = lair.names["parquet"]

    assert other.sql(f"SELECT price FROM '{name}'").to_pydict() == {"price": [SECRET]}
