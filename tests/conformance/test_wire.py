"""What the server answers on the wire: raw gRPC, as Go, Java, ODBC and Rust clients speak it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.limits import ProtocolLimits
from tests.support.flight_fixture import SmallEngine, SmallPlan, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flight_server.ports import Asker

_SERVICE = "/arrow.flight.protocol.FlightService/"
_STATEMENT = commands.encode(commands.StatementQuery("select a from t"))


@pytest.fixture
def channel(server: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as open_channel:
        yield open_channel


def _ask(channel: grpc.Channel, method: str, request: bytes) -> bytes:
    answer: bytes = channel.unary_unary(_SERVICE + method)(request, timeout=20)
    return answer


def _status(channel: grpc.Channel, method: str, request: bytes) -> tuple[str, str]:
    """Code and text of a failing call; 'OK' when it does not fail."""
    try:
        if method in ("DoGet", "DoAction"):
            list(channel.unary_stream(_SERVICE + method)(request, timeout=20))
        else:
            _ask(channel, method, request)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def _descriptor(command: bytes) -> bytes:
    serialized: bytes = flight.FlightDescriptor.for_command(command).serialize()
    return serialized


def _handshake(channel: grpc.Channel, header: str, messages: list[bytes]) -> dict[str, str]:
    call = channel.stream_stream(_SERVICE + "Handshake")(
        iter(messages), metadata=[("authorization", header)], timeout=20
    )
    list(call)
    assert call.code() is grpc.StatusCode.OK
    return dict(call.initial_metadata())


@pytest.mark.parametrize(
    ("header", "messages"),
    [
        ("Bearer any.old.token", [b""]),
        ("Basic " + base64.b64encode(b"alice:pw").decode().rstrip("="), []),
        ("Bearer odbc", [b"\x12\x00"]),
    ],
    ids=["6 JDBC token", "7 Go login", "8 ODBC token"],
)
def test_handshake_of_each_client_is_accepted(
    channel: grpc.Channel, header: str, messages: list[bytes]
) -> None:
    """6, 7, 8"""
    assert _handshake(channel, header, messages)["authorization"].startswith("Bearer ")


def test_a_session_that_is_gone_with_its_options_says_so(client: flight.FlightClient) -> None:
    """5, 24"""
    descriptor = flight.FlightDescriptor.for_command(_STATEMENT)
    cookie = f"arrow_flight_session_id={'ab' * 16}"
    known, gone = (
        flight.FlightCallOptions(headers=[(b"cookie", text.encode())])
        for text in (cookie, f"{cookie}.set")
    )

    assert client.get_flight_info(descriptor, known).endpoints
    with pytest.raises(pa.ArrowInvalid, match="this session has expired"):
        client.get_flight_info(descriptor, gone)
    assert list(client.do_action(flight.Action("GetSessionOptions", b""), gone))


def test_get_schema_equals_the_streamed_schema(client: flight.FlightClient) -> None:
    """19, 9"""
    descriptor = flight.FlightDescriptor.for_command(_STATEMENT)
    info = client.get_flight_info(descriptor)
    rows = client.do_get(info.endpoints[0].ticket).read_all()

    assert client.get_schema(descriptor).schema.equals(rows.schema)
    assert info.schema.equals(rows.schema, check_metadata=True)
    assert info.app_metadata == rows.schema.metadata[b"highwater.receipt"]
    assert len(info.endpoints) == 1
    assert info.endpoints[0].locations == []


def test_ticket_can_be_fetched_again(client: flight.FlightClient, engine: SmallEngine) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_command(_STATEMENT))
    plans = engine.plans

    first, second = (client.do_get(info.endpoints[0].ticket).read_all() for _ in range(2))

    assert first.equals(second)
    assert engine.plans == plans
    assert info.endpoints[0].expiration_time is not None


@pytest.mark.parametrize("method", ["GetFlightInfo", "GetSchema"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"", "INVALID_ARGUMENT"),
        (b"\xff\xff\xff\xff", "INVALID_ARGUMENT"),
        (AnyMessage(value=b"x").SerializeToString(), "INVALID_ARGUMENT"),
        (
            AnyMessage(
                type_url=commands.TYPE_URL + "CommandStatementQuery", value=b"\xff"
            ).SerializeToString(),
            "INVALID_ARGUMENT",
        ),
        (
            AnyMessage(type_url=commands.TYPE_URL + "CommandNew").SerializeToString(),
            "UNIMPLEMENTED",
        ),
        (
            AnyMessage(type_url="x/google.protobuf.Empty").SerializeToString(),
            "UNIMPLEMENTED",
        ),
        (_STATEMENT.replace(b"type.googleapis.com", b"another.prefix.here"), "OK"),
        (commands.encode(commands.PreparedStatementQuery(b"x" * 16)), "NOT_FOUND"),
        (commands.encode(commands.StatementQuery("select 1", b"")), "NOT_FOUND"),
        (commands.encode(commands.StatementQuery("select ?")), "INVALID_ARGUMENT"),
        (commands.encode(commands.StatementQuery("selec 1")), "INVALID_ARGUMENT"),
        (commands.encode(commands.StatementQuery("x" * (2 << 20))), "INVALID_ARGUMENT"),
    ],
    ids=[
        "empty",
        "garbage",
        "no type",
        "broken command",
        "unknown command",
        "other package",
        "other prefix",
        "unknown handle",
        "transaction",
        "unbound",
        "wrong SQL",
        "long SQL",
    ],
)
def test_bad_commands_get_the_right_code_and_clean_words(
    channel: grpc.Channel, method: str, command: bytes, code: str
) -> None:
    """49"""
    got, text = _status(channel, method, _descriptor(command))

    assert got == code
    assert "Traceback" not in text
    assert ".py" not in text


@pytest.mark.parametrize(
    ("ticket", "code"),
    [
        (b"", "INVALID_ARGUMENT"),
        (b"garbage", "INVALID_ARGUMENT"),
        (_STATEMENT, "INVALID_ARGUMENT"),
        (commands.encode(commands.TicketStatementQuery(b"x" * 16)), "NOT_FOUND"),
        (commands.encode(commands.GetCatalogs()), "OK"),
    ],
)
def test_bad_tickets_get_the_right_code(channel: grpc.Channel, ticket: bytes, code: str) -> None:
    """49"""
    request = pb.Ticket(ticket=ticket).SerializeToString()

    assert _status(channel, "DoGet", request)[0] == code


@pytest.mark.parametrize(
    ("kind", "code"),
    [("BeginSavepoint", "UNIMPLEMENTED"), ("Nonsense", "UNIMPLEMENTED")],
)
def test_unknown_actions_are_unimplemented(
    client: flight.FlightClient, kind: str, code: str
) -> None:
    """49"""
    with pytest.raises(NotImplementedError, match="no action"):
        list(client.do_action(flight.Action(kind, b"")))


def test_every_action_is_listed(client: flight.FlightClient) -> None:
    names = {action.type for action in client.list_actions()}

    assert names >= {"CreatePreparedStatement", "ClosePreparedStatement", "CancelFlightInfo"}


@pytest.mark.parametrize("letter", ["w", "ü", "\x01", "漢"])
def test_long_errors_are_cut_and_keep_their_code(channel: grpc.Channel, letter: str) -> None:
    """48"""
    sql = f'select "{letter * 200_000}" from t'
    command = commands.encode(commands.StatementQuery(sql))
    code, text = _status(channel, "GetFlightInfo", _descriptor(command))

    assert code == "INVALID_ARGUMENT"
    assert len(text.encode()) < 2048


def test_results_arrive_at_clients_with_4_mib_messages(channel: grpc.Channel) -> None:
    """40, 45: plain gRPC accepts 4 MiB a message"""
    command = commands.encode(commands.StatementQuery("select n, n + 1 as m from many"))
    answer = flight.FlightInfo.deserialize(_ask(channel, "GetFlightInfo", _descriptor(command)))
    request = pb.Ticket(ticket=answer.endpoints[0].ticket.ticket).SerializeToString()

    messages = list(channel.unary_stream(_SERVICE + "DoGet")(request, timeout=20))

    assert sum(map(len, messages)) > 15_000_000
    assert max(map(len, messages)) < 3 << 20


def test_two_copies_of_the_messages_can_live_in_one_process() -> None:
    """The package of the messages is our own, so that no other copy clashes with it."""
    other = descriptor_pb2.FileDescriptorProto(
        name="other_flight_sql.proto", package="arrow.flight.protocol.sql"
    )
    other.message_type.add(name="CommandStatementQuery")

    descriptor_pool.Default().AddSerializedFile(other.SerializeToString())


class _BrokenEngine(SmallEngine):
    """Fails with what no engine should raise."""

    def plan(self, sql: str, parameters: Mapping[str, pa.Scalar] | None, asker: Asker) -> SmallPlan:
        raise OSError(f"cannot open /srv/secret/place.parquet for {sql}")


@pytest.mark.parametrize(
    ("method", "code"), [("GetFlightInfo", "INTERNAL"), ("GetSchema", "UNKNOWN")]
)
def test_internal_errors_say_nothing_but_an_id(
    method: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(_BrokenEngine()) as broken,
        grpc.insecure_channel(f"127.0.0.1:{broken.port}") as channel,
    ):
        got, text = _status(channel, method, _descriptor(_STATEMENT))

    assert got == code
    assert text.startswith("internal error ")
    assert "secret" not in text
    assert text.split()[2].rstrip(";") in caplog.text
    assert "Traceback" in caplog.text


def test_full_server_asks_to_try_again(engine: SmallEngine) -> None:
    """52, in small: the second stream finds no slot"""
    limits = ProtocolLimits(streams_max=1, slot_wait_s=0.1)
    query = commands.encode(commands.StatementQuery("select n from many"))
    with (
        serving(engine, limits) as small,
        flight.connect(f"grpc://127.0.0.1:{small.port}") as client,
    ):
        info = client.get_flight_info(flight.FlightDescriptor.for_command(query))
        held = client.do_get(info.endpoints[0].ticket)
        held.read_chunk()
        with pytest.raises(flight.FlightUnavailableError, match="try again"):
            client.do_get(info.endpoints[0].ticket).read_all()
        held.cancel()
