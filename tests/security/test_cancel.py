"""Who sees which statements, and who may end them: over real clients, while they run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import pytest

from tests.security.test_clients import ask, connected, login
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.security.conftest import World

_SLOW = "SELECT sum(value * value % 7) AS endless FROM generate_series(1, 1000000000000)"
_RUNNING = "SELECT id FROM system.queries WHERE state = 'running' AND sql LIKE '%AS endless%'"


def running(connection: Any) -> list[int]:
    return [query_id for (query_id,) in ask(connection, f"{_RUNNING} AND sql NOT LIKE '%LIKE%'")]


class Endless:
    """A statement of alice that runs until somebody ends it."""

    def __init__(self, world: World, port: int) -> None:
        self.error = ""
        self._world, self._port = world, port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def ended(self) -> bool:
        self._thread.join(20)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with connected(self._world, self._port, **login("alice")) as connection:
            try:
                ask(connection, _SLOW)
            except adbc.Error as error:
                self.error = str(error)


@pytest.fixture
def endless(world: World, port: int) -> Iterator[Endless]:
    made = Endless(world, port)
    yield made
    if not made.ended():
        with connected(world, port, **login("root")) as connection:
            for query_id in running(connection):
                ask(connection, f"CALL system.cancel({query_id})")
        assert made.ended()


def id_of(connection: Any) -> int:
    """Of the endless statement, once it runs."""
    found: list[int] = wait_until(lambda: running(connection), lambda: "it does not run", 20)
    return found[0]


@pytest.mark.parametrize("name", ["alice", "root"])
def test_its_owner_and_an_administrator_see_and_end_a_statement(
    world: World, port: int, endless: Endless, name: str
) -> None:
    with connected(world, port, **login(name)) as connection:
        query_id = id_of(connection)

        assert ask(connection, f"CALL system.cancel({query_id})") == [(query_id, "cancelled")]

        assert endless.ended()
        assert f"cancelled by {name}" in endless.error
        assert running(connection) == []
        state = f"SELECT state, principal FROM system.queries WHERE id = {query_id}"
        assert ask(connection, state) == [("cancelled", "alice")]


def test_to_others_a_statement_does_not_exist(world: World, port: int, endless: Endless) -> None:
    with (
        connected(world, port, **login("root")) as root,
        connected(world, port, **login("sue")) as sue,
    ):
        query_id = id_of(root)

        assert running(sue) == []
        assert {p for (p,) in ask(sue, "SELECT principal FROM system.queries")} <= {"sue"}
        said = []
        for unknown in (query_id, query_id + 1_000_000):
            with pytest.raises(adbc.Error, match="NOT_FOUND") as refused:
                ask(sue, f"call system.cancel( {unknown} );")
            said.append(str(refused.value).replace(str(unknown), "N"))
        assert said[0] == said[1]
        assert running(root) == [query_id]
        ask(root, f"CALL system.cancel({query_id})")


def test_what_is_no_call_of_it_is_not_taken_for_one(world: World, port: int) -> None:
    with connected(world, port, **login("root")) as connection:
        for sql in ("CALL system.cancel('1')", "CALL system.cancel(1); SELECT 1", "CALL cancel(1)"):
            with pytest.raises(adbc.Error, match=r"INVALID_ARGUMENT|NOT_IMPLEMENTED"):
                ask(connection, sql)
