"""Handshakes byte by byte, as Go, Java and C++ clients send them, where users must log in."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest

from contract.clock import SystemClock
from tests.security.conftest import PASSWORD, TOKEN, World
from tests.support.secrets_fixture import a_user, write_users

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVICE = "/arrow.flight.protocol.FlightService/"
_EMPTY_REQUEST = b""  # a HandshakeRequest without payload


class Wire:
    """One channel over TLS."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def handshake(self, header: str, *messages: bytes) -> tuple[Any, dict[str, str], str]:
        """Status code, initial metadata and text of a Handshake."""
        method = self._channel.stream_stream(_SERVICE + "Handshake")
        call = method(iter(messages), metadata=[("authorization", header)], timeout=20)
        try:
            assert list(call) == []
        except grpc.RpcError:
            return call.code(), {}, str(call.details())
        return call.code(), {key: str(value) for key, value in call.initial_metadata()}, ""

    def actions(self, header: str) -> Any:
        """The status code of a call that needs an identity."""
        method = self._channel.unary_stream(_SERVICE + "ListActions")
        call = method(b"", metadata=[("authorization", header)], timeout=20)
        with contextlib.suppress(grpc.RpcError):
            list(call)
        return call.code()


class Late(SystemClock):
    """The machine's clock, which can be moved ahead."""

    late_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.late_s


@pytest.fixture
def wire(world: World, port: int) -> Iterator[Wire]:
    roots = grpc.ssl_channel_credentials(world.authority.cert.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{port}", roots) as channel:
        yield Wire(channel)


def basic(password: str = PASSWORD, name: str = "alice", *, padded: bool = False) -> str:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return "Basic " + (text if padded else text.rstrip("="))


@pytest.mark.parametrize("padded", [False, True], ids=["as Go", "as Java and C++"])
@pytest.mark.parametrize("messages", [(), (_EMPTY_REQUEST,)], ids=["no message", "an empty one"])
def test_a_login_gets_a_bearer_token_in_the_initial_metadata(
    wire: Wire, padded: bool, messages: tuple[bytes, ...]
) -> None:
    code, metadata, _ = wire.handshake(basic(padded=padded), *messages)

    assert code is grpc.StatusCode.OK
    assert metadata["authorization"].startswith("Bearer hws_")
    assert wire.actions(metadata["authorization"]) is grpc.StatusCode.OK


def test_a_handshake_with_a_token_is_accepted(wire: Wire) -> None:
    """JDBC with `token=` and ODBC begin with one."""
    code, metadata, _ = wire.handshake(f"Bearer {TOKEN}", _EMPTY_REQUEST)

    assert code is grpc.StatusCode.OK
    assert wire.actions(metadata["authorization"]) is grpc.StatusCode.OK
    assert wire.actions(f"Bearer {TOKEN}") is grpc.StatusCode.OK


@pytest.mark.parametrize("header", [basic("wrong"), "Bearer wrong", "Bearer ", "Negotiate x"])
def test_a_handshake_of_nobody_known_is_unauthenticated(wire: Wire, header: str) -> None:
    code, _, text = wire.handshake(header, _EMPTY_REQUEST)

    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "Traceback" not in text


def test_two_authorizations_are_one_too_many(wire: Wire) -> None:
    method = wire._channel.unary_stream(_SERVICE + "ListActions")
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    call = method(b"", metadata=headers, timeout=20)
    with pytest.raises(grpc.RpcError):
        list(call)

    assert call.code() is grpc.StatusCode.UNAUTHENTICATED


def test_guessing_shuts_the_login_of_one_name_for_a_while(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    users = write_users(
        tmp_path_factory.mktemp("users") / "users.json",
        a_user("alice", password=PASSWORD, token=TOKEN),
        a_user("bob", password=PASSWORD),
    )
    clock = Late()
    roots = grpc.ssl_channel_credentials(world.authority.cert.read_bytes())
    with (
        world.serve(world.changed(users_file=users), clock=clock) as server,
        grpc.secure_channel(f"127.0.0.1:{server.port}", roots) as channel,
    ):
        wire = Wire(channel)
        said = [wire.handshake(basic(f"guess {i}"))[2] for i in range(7)]
        right = wire.handshake(basic())

        assert [("wrong" in text, "try again in" in text) for text in said] == [
            *[(True, False)] * 5,
            *[(False, True)] * 2,
        ]
        assert right[0] is grpc.StatusCode.UNAUTHENTICATED
        assert wire.actions(f"Bearer {TOKEN}") is grpc.StatusCode.OK
        assert wire.handshake(basic(name="bob"))[0] is grpc.StatusCode.OK
        clock.late_s = 1.0
        assert wire.handshake(basic())[0] is grpc.StatusCode.OK
