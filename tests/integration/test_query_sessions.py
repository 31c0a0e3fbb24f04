"""What the options of a session change in the engine's answers."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import flight

from contract.errors import RequestError
from flight_server.options import DEFAULTS
from flight_server.ports import Asker
from flight_server.protocol import commands
from flight_server.protocol.placeholders import rewrite
from flight_server.query import session
from flight_server.security.identity import Identity
from tests.support.flight_fixture import connected, serving
from tests.support.joint import Joint, half_committed

if TYPE_CHECKING:
    from collections.abc import Iterator

BERLIN = {"highwater.time_zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joint]:
    with half_committed(tmp_path_factory.mktemp("joint"), 100) as made:
        yield made


def ask(joint: Joint, sql: str, options: dict[str, Any]) -> pa.Table:
    given, refused = DEFAULTS.changed(options)
    assert not refused
    plan = joint.engine.plan(sql, None, Asker(options=given))
    return pa.Table.from_batches(plan.stream(), schema=plan.schema)


def test_literals_and_the_current_time_are_of_the_time_zone(joint: Joint) -> None:
    sql = "SELECT timestamptz '2024-07-01 00:00:00' AS summer, now() AS now, current_date AS today"

    row = ask(joint, sql, BERLIN)

    assert row.schema.field("summer").type.tz == row.schema.field("now").type.tz == "Europe/Berlin"
    assert row["summer"][0].as_py().utcoffset().total_seconds() == 7_200
    assert row["today"][0].as_py() == row["now"][0].as_py().date()


def test_rows_are_the_same_in_every_time_zone(joint: Joint) -> None:
    sql = "SELECT * FROM trades"

    assert sorted(map(str, ask(joint, sql, BERLIN).to_pylist())) == sorted(
        map(str, ask(joint, sql, {}).to_pylist())
    )


def test_days_begin_where_the_session_is(joint: Joint) -> None:
    sql = "SELECT cast(timestamptz '2024-07-01 23:30:00+00:00' AS date) AS day"

    assert ask(joint, sql, BERLIN)["day"].to_pylist() == [date(2024, 7, 2)]
    assert ask(joint, sql, {})["day"].to_pylist() == [date(2024, 7, 1)]


def test_unqualified_names_are_of_the_schema(joint: Joint) -> None:
    assert ask(joint, "SELECT * FROM cut", {"schema": "system"}).num_rows > 0
    assert ask(joint, "SELECT * FROM schemata", {"schema": "information_schema"}).num_rows > 0
    assert ask(joint, "SELECT count(*) AS n FROM public.trades", {"schema": "system"}) == ask(
        joint, "SELECT count(*) AS n FROM trades", {}
    )
    with pytest.raises(RequestError, match="trades"):
        ask(joint, "SELECT * FROM trades", {"schema": "system"})


def test_tools_find_out_where_they_are(joint: Joint) -> None:
    sql = rewrite(
        "SELECT current_schema() AS a, current_schema AS b, current_catalog AS c, "
        "current_database() AS d, version() AS e, count(*) AS n FROM public.trades"
    ).sql

    (here,) = ask(joint, sql, {}).to_pylist()
    (there,) = ask(joint, sql, {"schema": "system"}).to_pylist()

    assert [here[name] for name in "abcd"] == ["public", "public", "highwater", "highwater"]
    assert [there[name] for name in "abcd"] == ["system", "system", "highwater", "highwater"]
    assert re.fullmatch(r"Highwater [\d.]+ \(DataFusion [\d.]+\)", here["e"])
    assert here["n"] == there["n"] == 100


@pytest.mark.parametrize("form", ["current_user", "CURRENT_USER()", "session_user"])
def test_a_user_is_told_its_own_name(joint: Joint, form: str) -> None:
    sql = rewrite(f"SELECT count(*) AS n FROM trades WHERE 'tom' = {form}").sql

    for name, rows in (("tom", 100), ("sue", 0)):
        plan = joint.engine.plan(sql, None, Asker(Identity(name, tables=None)))
        assert [batch["n"].to_pylist() for batch in plan.stream()] == [[rows]]


def test_one_session_changes_nothing_for_others(joint: Joint) -> None:
    sql = "SELECT now() AS now"
    ask(joint, sql, BERLIN)

    assert ask(joint, sql, {}).schema.field("now").type.tz is None


def test_few_contexts_are_kept(joint: Joint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_OTHER_CONTEXTS_MAX", 2)
    zones = [f"+0{hour}:00" for hour in range(5)]

    for zone in zones * 2:
        answer = ask(joint, "SELECT now() AS now", {"highwater.time_zone": zone})
        assert (
            answer["now"][0].as_py().utcoffset()
            == datetime.fromisoformat(f"2024-01-01T00:00:00{zone}").utcoffset()
        )

    assert len(joint.engine._session._others) == 2


def test_timestamps_come_without_a_zone_on_request(joint: Joint) -> None:
    sql = "SELECT timestamp, timestamptz '2024-07-01 00:00:00' AS summer FROM trades"

    plain = ask(joint, sql, {"highwater.timestamps": "utc", **BERLIN})
    zoned = ask(joint, sql, BERLIN)

    assert [field.type.tz for field in plain.schema] == [None, None]
    assert plain["summer"][0].as_py() == datetime.fromisoformat("2024-06-30T22:00:00")
    assert sorted(plain["timestamp"].cast(pa.int64()).to_pylist()) == sorted(
        zoned["timestamp"].cast(pa.int64()).to_pylist()
    )


def test_options_come_as_headers_of_one_call(joint: Joint) -> None:
    header = "adbc.flight.sql.rpc.call_header."
    zone = header + "highwater.time_zone"
    sql = "SELECT now() AS now FROM cut"
    with serving(joint.engine) as server:
        options = {zone: "Europe/Berlin", header + "schema": "system"}
        with connected(server.port, **options) as one, one.cursor() as cursor:
            cursor.execute(sql)
            assert cursor.fetch_arrow_table().schema.field("now").type.tz == "Europe/Berlin"
        descriptor = flight.FlightDescriptor.for_command(
            commands.encode(commands.StatementQuery(sql))
        )
        bad = flight.FlightCallOptions(headers=[(b"highwater.timestamps", b"local")])
        with (
            flight.connect(f"grpc://127.0.0.1:{server.port}") as client,
            pytest.raises(pa.ArrowInvalid, match="'local' is none of zoned, utc"),
        ):
            client.get_flight_info(descriptor, bad)


def test_a_stock_client_sets_them(joint: Joint) -> None:
    with serving(joint.engine) as server, connected(server.port) as connection:
        connection.adbc_current_db_schema = "system"
        option = "adbc.flight.sql.session.option.highwater.time_zone"
        connection.adbc_connection.set_options(**{option: "Europe/Berlin"})
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) AS n, arrow_typeof(now()) AS now FROM cut")
            count, now = cursor.fetchone()

    assert count > 0
    assert "Europe/Berlin" in now
