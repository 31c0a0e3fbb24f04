"""Real clients against a server with TLS and users: who gets in, and what they see."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pyarrow import flight

from contract.clock import SystemClock
from flight_server.protocol import commands
from tests.security.conftest import PASSWORD, TOKEN, World
from tests.support.secrets_fixture import (
    AUDIENCE,
    ISSUER,
    Authority,
    Pem,
    a_jwt,
    a_user,
    public_pem,
    write_users,
)
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPTION = "adbc.flight.sql.client_option."
_BEARER = "adbc.flight.sql.authorization_header"
_BROKEN_OFF = r"\(Unavailable; "  # which side notices first, and how, differs
_COUNT = "select count(*) as n from trades"


@contextmanager
def connected(world: World, port: int, *, trust: Any = None, **options: str) -> Iterator[Any]:
    """ADBC over TLS."""
    roots = (trust or world.authority).cert.read_text()
    uri = f"grpc+tls://127.0.0.1:{port}"
    options = {f"{_OPTION}tls_root_certs": roots} | options
    with adbc.connect(uri, db_kwargs=options, autocommit=True) as connection:
        yield connection


def ask(connection: Any, sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def login(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"username": name, "password": password}


def shown(pem: Pem) -> dict[str, str]:
    return {
        f"{_OPTION}mtls_cert_chain": pem.cert.read_text(),
        f"{_OPTION}mtls_private_key": pem.key.read_text(),
    }


def refused(world: World, port: int, match: str, **options: Any) -> None:
    def attempt() -> None:
        with connected(world, port, **options) as connection:
            ask(connection, "select 1")

    with pytest.raises(adbc.Error, match=match) as raised:
        attempt()
    text = str(raised.value)
    assert "Traceback" not in text
    assert PASSWORD not in text


def test_a_login_over_tls_reads(world: World, port: int) -> None:
    with connected(world, port, **login("alice")) as connection:
        for _ in range(2):
            assert ask(connection, _COUNT) == [(100,)]
        assert ask(connection, "select current_user") == [("alice",)]


def test_a_static_token_reads_without_a_login(world: World, port: int) -> None:
    with connected(world, port, **{_BEARER: f"Bearer {TOKEN}"}) as connection:
        assert ask(connection, _COUNT) == [(100,)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "UNAUTHENTICATED.*log in"),
        (login("alice", "wrong"), "UNAUTHENTICATED.*the user or the password is wrong"),
        (login("mallory"), "UNAUTHENTICATED.*the user or the password is wrong"),
        ({_BEARER: "Bearer wrong"}, "UNAUTHENTICATED.*unknown or has expired"),
        ({_BEARER: "Bearer None"}, "UNAUTHENTICATED.*unknown or has expired"),
    ],
)
def test_nobody_else_gets_in(world: World, port: int, options: dict[str, str], match: str) -> None:
    refused(world, port, match, **options)


def test_an_unknown_authority_and_plain_text_are_no_connection(
    world: World, port: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"))
    refused(world, port, "unknown authority", trust=other, **login("alice"))

    with (
        pytest.raises(adbc.Error, match=_BROKEN_OFF),
        adbc.connect(f"grpc://127.0.0.1:{port}", autocommit=True) as connection,
    ):
        ask(connection, "select 1")


def test_readers_see_their_tables_everywhere_and_no_others(world: World, port: int) -> None:
    with connected(world, port, **login("sue")) as connection:
        with pytest.raises(adbc.ProgrammingError, match=r"'highwater.public.trades' not found"):
            ask(connection, _COUNT)
        with pytest.raises(adbc.ProgrammingError, match="NOT_FOUND"):
            connection.adbc_get_table_schema("trades")
        objects = connection.adbc_get_objects().read_all().to_pylist()
        assert "trades" not in str(objects)
        assert ask(connection, "select * from system.cut") == []
    with connected(world, port, **login("alice")) as connection:
        assert connection.adbc_get_table_schema("trades").names[0] == "message_id"
        with pytest.raises(adbc.ProgrammingError, match=r"system.settings' not found"):
            ask(connection, "select * from system.settings")
    with connected(world, port, **login("root")) as connection:
        assert ("insecure", "no") in ask(connection, "select name, value from system.settings")


def test_a_certificate_of_another_authority_is_refused(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """mTLS as a second lock: certificate and login."""
    other = Authority(tmp_path_factory.mktemp("other")).issue("alice")
    mine = world.authority.issue("laptop")
    with world.serve(world.changed(tls_client_ca=world.authority.cert)) as server:
        with connected(world, server.port, **shown(mine), **login("alice")) as connection:
            assert ask(connection, _COUNT) == [(100,)]
        refused(world, server.port, _BROKEN_OFF, **login("alice"))
        refused(world, server.port, _BROKEN_OFF, **shown(other), **login("alice"))
        refused(world, server.port, "log in", **shown(mine))


def test_a_certificate_can_be_the_login(world: World) -> None:
    settings = world.changed(tls_client_ca=world.authority.cert, client_identity="certificate")
    with world.serve(settings) as server:
        with connected(world, server.port, **shown(world.authority.issue("alice"))) as connection:
            assert ask(connection, _COUNT) == [(100,)]
        stranger = world.authority.issue("stranger")
        refused(world, server.port, "UNAUTHENTICATED.*no user", **shown(stranger))
        with (
            flight.connect(
                f"grpc+tls://127.0.0.1:{server.port}",
                tls_root_certs=world.authority.cert.read_bytes(),
                cert_chain=stranger.cert.read_bytes(),
                private_key=stranger.key.read_bytes(),
            ) as client,
            pytest.raises(flight.FlightUnauthenticatedError),
        ):
            list(client.list_actions())
        with connected(world, server.port, **shown(world.authority.issue("sue"))) as connection:
            connection.adbc_current_db_schema = "system"
            assert ask(connection, "select * from cut") == []


def test_a_json_web_token_reads_what_it_grants(world: World, tmp_path: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(public_pem(key))
    settings = world.changed(
        users_file=None,
        jwt_keys=tmp_path / "key.pem",
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )
    now_s = SystemClock().wall_s()
    good, expired = (
        f"Bearer {a_jwt(key, now_s=at, highwater={'role': 'reader', 'tables': ['trades']})}"
        for at in (now_s, now_s - 10_000)
    )
    with world.serve(settings) as server:
        with connected(world, server.port, **{_BEARER: good}) as connection:
            assert ask(connection, _COUNT) == [(100,)]
            connection.adbc_current_db_schema = "system"  # adopts a token with the session behind
            assert ask(connection, 'select distinct "table" from cut') == [("trades",)]
        refused(world, server.port, "UNAUTHENTICATED.*expired", **{_BEARER: expired})
        refused(world, server.port, "UNAUTHENTICATED", **login("alice"))


def test_a_login_ends_with_its_time(world: World) -> None:
    class Late(SystemClock):
        late_s = 0.0

        def monotonic_s(self) -> float:
            return super().monotonic_s() + self.late_s

    clock = Late()
    with (
        world.serve(clock=clock) as server,
        connected(world, server.port, **login("alice")) as connection,
    ):
        assert ask(connection, _COUNT) == [(100,)]
        clock.late_s = 50_000.0
        with pytest.raises(adbc.Error, match=r"UNAUTHENTICATED.*has expired"):
            ask(connection, "select 2")


def test_a_removed_user_is_out_within_a_second(world: World, tmp_path: Any) -> None:
    users = write_users(tmp_path / "users.json", a_user("alice", ["trades"], password=PASSWORD))
    settings = world.changed(users_file=users)
    with world.serve(settings) as server:
        alice, as_alice = logged_in(world, server.port, "alice")
        with alice:
            assert list(alice.list_actions(as_alice))
            write_users(users, a_user("bob", password=PASSWORD))

            def is_out() -> bool:
                try:
                    list(alice.list_actions(as_alice))
                except flight.FlightUnauthenticatedError:
                    return True
                return False

            wait_until(is_out, lambda: "a removed user is still in", 10)


def logged_in(
    world: World, port: int, name: str
) -> tuple[flight.FlightClient, flight.FlightCallOptions]:
    """pyarrow's own client, and the options that its calls need."""
    roots = world.authority.cert.read_bytes()
    client = flight.connect(f"grpc+tls://127.0.0.1:{port}", tls_root_certs=roots)
    token = client.authenticate_basic_token(name, PASSWORD)
    return client, flight.FlightCallOptions(headers=[token])


def test_handles_of_one_user_are_unknown_to_another(world: World, port: int) -> None:
    ticket = commands.encode(commands.StatementQuery(_COUNT))
    alice, as_alice = logged_in(world, port, "alice")
    root, as_root = logged_in(world, port, "root")
    with alice, root:
        info = alice.get_flight_info(flight.FlightDescriptor.for_command(ticket), as_alice)
        with pytest.raises(KeyError, match="unknown to this server"):
            root.do_get(info.endpoints[0].ticket, as_root).read_all()
        with pytest.raises(flight.FlightUnauthenticatedError):
            alice.do_get(info.endpoints[0].ticket).read_all()
        assert alice.do_get(info.endpoints[0].ticket, as_alice).read_all().num_rows == 1


_METHODS = ("GetFlightInfo", "GetSchema", "DoGet", "DoAction", "ListActions", "ListFlights")


@pytest.mark.parametrize("method", [*_METHODS, "DoPut", "DoExchange", "Handshake"])
def test_no_rpc_is_answered_before_a_login(world: World, port: int, method: str) -> None:
    roots = grpc.ssl_channel_credentials(world.authority.cert.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{port}", roots) as channel:
        call = channel.stream_stream(f"/arrow.flight.protocol.FlightService/{method}")
        answers = call(iter([b""]), timeout=20)
        with pytest.raises(grpc.RpcError):
            list(answers)

    assert answers.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("name", ["alice", "root"])
def test_sessions_are_kept_apart_behind_the_same_token(world: World, port: int, name: str) -> None:
    """Neither of them returns cookies: the session travels behind the token."""
    options = {_BEARER: f"Bearer {TOKEN}"} if name == "alice" else login(name)
    with (
        connected(world, port, **options) as one,
        connected(world, port, **options) as other,
    ):
        one.adbc_current_db_schema = "system"

        assert one.adbc_current_db_schema == "system"
        assert other.adbc_current_db_schema == "public"
        assert len(ask(one, "select * from cut")) == 3
