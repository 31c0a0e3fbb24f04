"""Streams that nobody wants any more end, and free what they hold."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from tests.support.flight_fixture import sample_engine, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.flight_fixture import SmallEngine

_ENDLESS = "select a.n, b.n as m from many a cross join many b"


def _wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


def _read_on(stream: flight.FlightStreamReader) -> None:
    while True:
        stream.read_chunk()


def _planned(client: flight.FlightClient, sql: str = _ENDLESS) -> flight.FlightInfo:
    command = commands.encode(commands.StatementQuery(sql))
    return client.get_flight_info(flight.FlightDescriptor.for_command(command))


def test_adbc_cancel_stops_the_execution(cursor: Any, engine: SmallEngine) -> None:
    """47"""
    cursor.execute(_ENDLESS)
    reader = cursor.fetch_record_batch()
    reader.read_next_batch()
    assert engine.open_streams == 1

    cursor.adbc_cancel()

    _wait_until(lambda: engine.open_streams == 0)


def test_deadline_of_the_client_stops_the_execution(
    client: flight.FlightClient, engine: SmallEngine
) -> None:
    """47"""
    info = _planned(client)
    options = flight.FlightCallOptions(timeout=0.5)

    with pytest.raises(flight.FlightTimedOutError):
        _read_on(client.do_get(info.endpoints[0].ticket, options))

    _wait_until(lambda: engine.open_streams == 0)


def test_killed_client_stops_the_execution(server: Any, engine: SmallEngine) -> None:
    """47"""
    script = f"""
        import adbc_driver_flightsql.dbapi as adbc
        connection = adbc.connect("grpc://127.0.0.1:{server.port}", autocommit=True)
        cursor = connection.cursor()
        cursor.execute("{_ENDLESS}")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        print("reading", flush=True)
        while True:
            reader.read_next_batch()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        assert engine.open_streams == 1
    finally:
        child.kill()
        child.communicate()

    _wait_until(lambda: engine.open_streams == 0)


def test_unread_tickets_run_nothing(client: flight.FlightClient, engine: SmallEngine) -> None:
    _planned(client)

    assert engine.open_streams == 0


@pytest.mark.parametrize("action", ["CancelFlightInfo", "CancelQuery"])
def test_cancel_actions_stop_the_stream_and_forget_the_ticket(
    client: flight.FlightClient, engine: SmallEngine, action: str
) -> None:
    info = _planned(client)
    stream = client.do_get(info.endpoints[0].ticket)
    stream.read_chunk()

    assert _cancel(client, action, info) == pb.CANCEL_STATUS_CANCELLED

    with pytest.raises(flight.FlightCancelledError, match="was cancelled"):
        _read_on(stream)
    with pytest.raises(KeyError, match="was cancelled"):
        client.do_get(info.endpoints[0].ticket)
    assert _cancel(client, action, info) == pb.CANCEL_STATUS_NOT_CANCELLABLE
    _wait_until(lambda: engine.open_streams == 0)


def _cancel(client: flight.FlightClient, action: str, info: flight.FlightInfo) -> int:
    serialized = info.serialize()
    if action == "CancelQuery":
        body = commands.encode(commands.CancelQuery(serialized))
        (answer,) = client.do_action(flight.Action(action, body))
        wrapped = AnyMessage.FromString(answer.body.to_pybytes())
        return int(pb.ActionCancelQueryResult.FromString(wrapped.value).result)
    request = pb.CancelFlightInfoRequest(info=pb.FlightInfo.FromString(serialized))
    (answer,) = client.do_action(flight.Action(action, request.SerializeToString()))
    return int(pb.CancelFlightInfoResult.FromString(answer.body.to_pybytes()).status)


def test_shutdown_ends_open_streams() -> None:
    """52, in small"""
    engine = sample_engine()
    with serving(engine) as server, flight.connect(f"grpc://127.0.0.1:{server.port}") as client:
        stream = client.do_get(_planned(client).endpoints[0].ticket)
        stream.read_chunk()
        stopping = threading.Thread(target=server.shutdown)
        stopping.start()

        with pytest.raises(flight.FlightUnavailableError, match="stopping"):
            _read_on(stream)
        stopping.join(10)

    assert not stopping.is_alive()
    assert engine.open_streams == 0
