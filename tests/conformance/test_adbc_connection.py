"""Connecting, sessions and metadata through the stock ADBC driver."""

from __future__ import annotations

from typing import Any

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pytest

from flight_server.handlers.service import FlightSqlService
from tests.support.flight_fixture import connected


def test_connect_asks_for_one_fact(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """1"""
    seen: list[bytes] = []
    original = FlightSqlService.info

    def info(self: FlightSqlService, command: bytes, call: Any) -> Any:
        seen.append(command)
        return original(self, command, call)

    monkeypatch.setattr(FlightSqlService, "info", info)
    with connected(server.port):
        pass

    assert len(seen) == 1
    assert b"CommandGetSqlInfo" in seen[0]


@pytest.mark.parametrize("password", ["a", "ab", "abc"])
def test_any_login_is_accepted_without_authentication(server: Any, password: str) -> None:
    """2, 3: nothing is checked, and clients that insist on a login still get in"""
    with connected(server.port, username="alice", password=password) as connection:
        assert connection.adbc_current_catalog == "highwater"


def test_tokens_are_ignored_without_authentication(server: Any) -> None:
    """4"""
    header = adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value
    with connected(server.port, **{header: "Bearer whatever"}) as connection:
        assert connection.adbc_current_db_schema == "public"


WITH_COOKIES = {adbc_driver_flightsql.DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}


def _sessions_of_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    original = FlightSqlService.act

    def act(self: FlightSqlService, name: str, body: bytes, call: Any) -> Any:
        seen.append((call.session.session_id, "cookie" in call.headers))
        return original(self, name, body, call)

    monkeypatch.setattr(FlightSqlService, "act", act)
    return seen


@pytest.mark.parametrize("options", [{}, WITH_COOKIES], ids=["token", "cookie"])
def test_session_stays_the_same_all_along(
    server: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """5"""
    seen = _sessions_of_calls(monkeypatch)

    with connected(server.port, **options) as connection:
        connection.adbc_current_db_schema = "system"
        for _ in range(2):
            assert connection.adbc_current_db_schema == "system"

    assert len(seen) == 5  # of these one that begins a transaction
    assert set(seen) == {(seen[0][0], options == WITH_COOKIES)}


def test_server_names_itself(connection: Any) -> None:
    """20"""
    info = connection.adbc_get_info()

    assert info["vendor_name"] == "Highwater"
    assert info["vendor_version"] == "0.1.0"
    assert info["vendor_arrow_version"] == pa.__version__


@pytest.mark.parametrize("depth", ["catalogs", "db_schemas", "tables", "all"])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"catalog_filter": "highwater"},
        {"db_schema_filter": "pub%"},
        {"table_name_filter": "t"},
        {"table_types_filter": ["TABLE"]},
    ],
    ids=lambda filters: next(iter(filters), "none"),
)
def test_objects_are_listed_at_every_depth(
    connection: Any, depth: str, filters: dict[str, Any]
) -> None:
    """21"""
    objects = connection.adbc_get_objects(depth=depth, **filters).read_all().to_pylist()

    assert [catalog["catalog_name"] for catalog in objects] == ["highwater"]


def test_columns_have_ordinals_and_type_names(connection: Any) -> None:
    """21"""
    objects = connection.adbc_get_objects(table_name_filter="kinds").read_all().to_pylist()
    schemas = {one["db_schema_name"]: one for one in objects[0]["catalog_db_schemas"]}
    columns = schemas["public"]["db_schema_tables"][0]["table_columns"]

    assert [(c["ordinal_position"], c["column_name"], c["xdbc_type_name"]) for c in columns] == [
        (1, "d", "VARCHAR"),
        (2, "s", "VARCHAR"),
        (3, "v", "VARCHAR"),
        (4, "price", "DECIMAL"),
        (5, "at", "TIMESTAMP"),
    ]


def test_table_name_with_underscore_is_no_pattern(connection: Any) -> None:
    """22"""
    schema = connection.adbc_get_table_schema("a_b")

    assert schema.names == ["right"]
    assert schema.field("right").type == pa.int64()


def test_unknown_table_is_not_found(connection: Any) -> None:
    """22"""
    with pytest.raises(adbc.ProgrammingError, match="NOT_FOUND"):
        connection.adbc_get_table_schema("missing")


def test_table_types_are_sorted(connection: Any) -> None:
    """23"""
    assert connection.adbc_get_table_types() == ["SYSTEM TABLE", "TABLE", "VIEW"]


@pytest.mark.parametrize("options", [{}, WITH_COOKIES], ids=["token", "cookie"])
def test_options_are_those_of_one_session(server: Any, options: dict[str, str]) -> None:
    """24"""
    with connected(server.port, **options) as one, connected(server.port, **options) as other:
        one.adbc_current_catalog = "highwater"
        one.adbc_current_db_schema = "system"
        with pytest.raises(adbc.Error):
            one.adbc_current_catalog = "elsewhere"
        with pytest.raises(adbc.Error):
            one.adbc_current_db_schema = "elsewhere"

        assert (one.adbc_current_catalog, one.adbc_current_db_schema) == ("highwater", "system")
        assert other.adbc_current_db_schema == "public"


def test_options_are_set_by_the_names_of_the_server(server: Any) -> None:
    option = "adbc.flight.sql.session.option.highwater.time_zone"
    with connected(server.port) as connection:
        connection.adbc_connection.set_options(**{option: "Europe/Berlin"})
        assert connection.adbc_connection.get_option(option) == "Europe/Berlin"
        with pytest.raises(adbc.Error, match="invalid value"):
            connection.adbc_connection.set_options(**{option: "Middle/Earth"})


def test_a_closed_session_has_its_defaults_again(server: Any) -> None:
    session = server._service._sessions
    with connected(server.port) as connection:
        connection.adbc_current_db_schema = "system"
        before = len(session)

    assert len(session) == before - 1
