"""Prepared statements on the wire, as Rust, Java and flightsql-dbapi use them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.limits import ProtocolLimits
from tests.support.flight_fixture import sample_engine, serving
from tests.unit.flight_server.test_statements import HandClock


def _prepare(client: flight.FlightClient, sql: str) -> pb.ActionCreatePreparedStatementResult:
    body = commands.encode(commands.CreatePreparedStatement(sql))
    (answer,) = client.do_action(flight.Action("CreatePreparedStatement", body))
    wrapped = AnyMessage.FromString(answer.body.to_pybytes())
    assert wrapped.type_url.endswith(".ActionCreatePreparedStatementResult")
    result = pb.ActionCreatePreparedStatementResult()
    result.ParseFromString(wrapped.value)
    return result


def _bind(client: flight.FlightClient, handle: bytes, row: pa.RecordBatch) -> bytes:
    command = commands.encode(commands.PreparedStatementQuery(handle))
    writer, reader = client.do_put(flight.FlightDescriptor.for_command(command), row.schema)
    with writer:
        writer.write_batch(row)
        writer.done_writing()
        reply = pb.DoPutPreparedStatementResult.FromString(reader.read().to_pybytes())
    return bytes(reply.prepared_statement_handle)


def _run(client: flight.FlightClient, handle: bytes) -> pa.Table:
    command = commands.encode(commands.PreparedStatementQuery(handle))
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    return client.do_get(info.endpoints[0].ticket).read_all()


def test_columns_are_bound_by_name_when_the_names_match(client: flight.FlightClient) -> None:
    """16, 17"""
    prepared = _prepare(client, "select a from t where a = $1 and s = $2")
    row = pa.record_batch({"$2": ["y"], "$1": [2]})

    handle = _bind(client, prepared.prepared_statement_handle, row)

    assert pa.ipc.read_schema(pa.py_buffer(prepared.parameter_schema)).names == ["$1", "$2"]
    assert _run(client, handle).to_pylist() == [{"a": 2}]
    assert prepared.HasField("is_update")
    assert not prepared.is_update


def test_union_columns_are_bound_as_their_values(client: flight.FlightClient) -> None:
    """15: flightsql-dbapi sends each value as a dense union"""
    prepared = _prepare(client, "select a from t where s = ?")
    union = pa.UnionArray.from_dense(
        pa.array([1], pa.int8()), pa.array([0], pa.int32()), [pa.array([7]), pa.array(["z%"])]
    )
    row = pa.record_batch([union], names=["param_0"])

    handle = _bind(client, prepared.prepared_statement_handle, row)

    assert _run(client, handle).to_pylist() == [{"a": 3}]


def test_each_bound_row_is_one_run_over_one_cut(client: flight.FlightClient) -> None:
    """14"""
    prepared = _prepare(client, "select a, $2 as tag from t where a >= $1 order by a")
    rows = pa.record_batch({"$1": [3, 9, 2], "$2": ["x", "y", None]})

    handle = _bind(client, prepared.prepared_statement_handle, rows)

    for _ in range(2):
        assert _run(client, handle).to_pylist() == [
            {"a": 3, "tag": "x"},
            {"a": 2, "tag": None},
            {"a": 3, "tag": None},
        ]


def test_rows_of_different_types_are_refused(client: flight.FlightClient) -> None:
    prepared = _prepare(client, "select ? as x")
    union = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([7]), pa.array(["z"])]
    )

    handle = _bind(
        client, prepared.prepared_statement_handle, pa.record_batch([union], ["param_0"])
    )

    with pytest.raises(pa.ArrowInvalid, match="different types"):
        _run(client, handle)


def test_a_ticket_can_be_kept_for_longer() -> None:
    clock = HandClock()
    limits = ProtocolLimits(ticket_ttl_s=10)
    command = commands.encode(commands.StatementQuery("select a from t"))
    with (
        serving(sample_engine(), limits, clock) as server,
        flight.connect(f"grpc://127.0.0.1:{server.port}") as client,
    ):
        info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
        first = client.do_get(info.endpoints[0].ticket).read_all()
        clock.sleep(9)
        endpoint = pb.FlightEndpoint.FromString(info.endpoints[0].serialize())
        request = pb.RenewFlightEndpointRequest(endpoint=endpoint)
        action = flight.Action("RenewFlightEndpoint", request.SerializeToString())
        (answer,) = client.do_action(action)
        renewed = flight.FlightEndpoint.deserialize(answer.body.to_pybytes())
        clock.sleep(9)

        assert renewed.ticket == info.endpoints[0].ticket
        assert renewed.expiration_time.as_py().timestamp() == clock.wall_s() + 1
        assert client.do_get(renewed.ticket).read_all() == first
        clock.sleep(1)
        with pytest.raises(KeyError, match="has expired: it lives 10 s"):
            client.do_get(renewed.ticket)
        with pytest.raises(KeyError, match="has expired"):
            list(client.do_action(action))


def test_closed_statement_is_gone_and_closing_again_is_fine(client: flight.FlightClient) -> None:
    handle = _prepare(client, "select 1 as x").prepared_statement_handle
    close = flight.Action(
        "ClosePreparedStatement", commands.encode(commands.ClosePreparedStatement(handle))
    )

    assert list(client.do_action(close)) == []
    assert list(client.do_action(close)) == []
    with pytest.raises(KeyError, match="was closed"):
        _run(client, handle)
