"""Read-only transactions and cuts that a client names, through the stock ADBC driver."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from contract.clock import SystemClock
from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.limits import ProtocolLimits
from flight_server.statements import HandleBounds
from tests.support.flight_fixture import connected, serving
from tests.support.joint import Joint, sample_messages, uncommitted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGES = sample_messages()
COUNT = "SELECT count(*) AS n FROM trades"
COMMIT = pb.ActionEndTransactionRequest.END_TRANSACTION_COMMIT


@pytest.fixture
def joint(tmp_path: Path) -> Joint:
    return uncommitted(tmp_path, 100)


@pytest.fixture
def server(joint: Joint) -> Iterator[Any]:
    with serving(joint.engine) as made:
        yield made


def rows(cursor: Any, sql: str = COUNT) -> list[dict[str, Any]]:
    """The answer to a statement."""
    cursor.execute(sql)
    found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
    return found


def receipt_of(cursor: Any, sql: str = COUNT) -> str:
    """The receipt of an answer."""
    cursor.execute(sql)
    metadata = cursor.fetch_arrow_table().schema.metadata
    return bytes(metadata[b"highwater.receipt"]).decode()


def live(port: int) -> Any:
    """A connection whose statements each read the newest cut."""
    return adbc.connect(f"grpc://127.0.0.1:{port}", autocommit=True)


def begun(client: flight.FlightClient, options: flight.FlightCallOptions = None) -> bytes:
    """The id of a new transaction."""
    body = commands.encode(commands.BeginTransaction())
    (result,) = client.do_action(flight.Action("BeginTransaction", body), options)
    wrapped = commands.parse(AnyMessage, result.body.to_pybytes())
    answer = commands.parse(pb.ActionBeginTransactionResult, wrapped.value)
    return bytes(answer.transaction_id)


def end(client: flight.FlightClient, transaction_id: bytes, action: int = COMMIT) -> list[Any]:
    """End it."""
    body = commands.encode(commands.EndTransaction(transaction_id, action))
    return list(client.do_action(flight.Action("EndTransaction", body)))


def asked(client: flight.FlightClient, transaction_id: bytes) -> list[dict[str, Any]]:
    """The count in a transaction."""
    command = commands.encode(commands.StatementQuery(COUNT, transaction_id))
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    found: list[dict[str, Any]] = client.do_get(info.endpoints[0].ticket).read_all().to_pylist()
    return found


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_statements_of_a_transaction_read_one_cut_until_it_ends(
    ending: str, server: Any, joint: Joint
) -> None:
    """The default of the driver: autocommit is off, a transaction begins with the connection."""
    with connected(server.port) as connection, connection.cursor() as cursor:
        before = rows(cursor)
        joint.follow(MESSAGES[100:200], 100)
        joint.commit(MESSAGES[:150], 0)
        joint.refresh()
        during = [rows(cursor), rows(cursor, f"{COUNT} WHERE symbol <> ?".replace("?", "''"))]
        with live(server.port) as other, other.cursor() as now:
            outside = rows(now)
        getattr(connection, ending)()
        after = rows(cursor)

    assert before == [{"n": 100}]
    assert during == [before, before]
    assert outside == after == [{"n": 200}]


def test_prepared_statements_of_a_transaction_use_its_cut_and_then_that_of_the_next(
    server: Any, joint: Joint
) -> None:
    with connected(server.port) as connection, connection.cursor() as cursor:
        sql = f"{COUNT} WHERE symbol = ?"
        cursor.adbc_prepare(sql)
        joint.follow(MESSAGES[100:200], 100)
        cursor.execute(sql, ("BTCUSDT",))
        bound = cursor.fetch_arrow_table().to_pylist()

        assert bound == [{"n": 100}]
        connection.commit()
        joint.follow(MESSAGES[200:300], 200)
        cursor.execute(sql, ("BTCUSDT",))
        assert cursor.fetch_arrow_table().to_pylist() == [{"n": 200}]


def test_system_tables_of_a_transaction_tell_of_its_cut(server: Any, joint: Joint) -> None:
    with connected(server.port) as connection, connection.cursor() as cursor:
        joint.follow(MESSAGES[100:200], 100)
        sql = "SELECT max(cut_offset) AS c FROM system.cut"

        assert rows(cursor, sql) == [{"c": 100}]


def test_a_transaction_that_ended_or_never_was_is_refused(server: Any, joint: Joint) -> None:
    with flight.connect(f"grpc://127.0.0.1:{server.port}") as client:
        transaction_id = begun(client)

        assert asked(client, transaction_id) == [{"n": 100}]
        assert end(client, transaction_id) == []
        assert end(client, transaction_id) == []  # whoever lost the answer may ask again
        with pytest.raises(KeyError, match="was ended"):
            asked(client, transaction_id)
        with pytest.raises(KeyError, match="begin another one"):
            asked(client, b"x" * 16)


@pytest.mark.parametrize("action", [0, 7])
def test_a_transaction_ends_in_two_ways_only(action: int, server: Any) -> None:
    with (
        flight.connect(f"grpc://127.0.0.1:{server.port}") as client,
        pytest.raises(ValueError, match="COMMIT or ROLLBACK"),
    ):
        end(client, begun(client), action)


def test_transactions_are_bounded_in_number_and_in_time(joint: Joint) -> None:
    limits = ProtocolLimits(
        transactions=HandleBounds(2), transaction_idle_s=0.5, transaction_max_s=1.2
    )
    with (
        serving(joint.engine, limits) as small,
        flight.connect(f"grpc://127.0.0.1:{small.port}") as client,
    ):
        first, second, third = (begun(client) for _ in range(3))
        with pytest.raises(KeyError, match="made room for newer ones"):
            asked(client, first)
        clock = SystemClock()
        until_s = clock.monotonic_s() + 1.1
        while clock.monotonic_s() < until_s:
            assert asked(client, second) == [{"n": 100}]
            clock.sleep(0.05)
        with pytest.raises(KeyError, match=r"expired: it lives 0.5 s; roll back, and begin"):
            asked(client, third)
        clock.sleep(0.2)
        with pytest.raises(KeyError, match=r"older than 1.2 s"):
            asked(client, second)


def test_reads_its_own_writes_by_the_offsets_that_its_producer_got(
    server: Any, joint: Joint
) -> None:
    wanted = '{"trades": {"0": 119}}'
    hint = f'/*+ highwater {{"at_least": {wanted}, "wait_s": 20}} */ {COUNT}'
    with live(server.port) as connection, connection.cursor() as cursor:
        late = threading.Timer(0.2, lambda: joint.follow(MESSAGES[100:120], 100))
        late.start()

        assert rows(cursor, hint) == [{"n": 120}]
        late.join()


def test_the_same_rows_again_by_header_option_and_comment(server: Any, joint: Joint) -> None:
    with live(server.port) as connection, connection.cursor() as cursor:
        receipt = receipt_of(cursor)
        joint.follow(MESSAGES[100:200], 100)
        joint.commit(MESSAGES[:150], 0)
        joint.refresh()
        hint = f'/*+ highwater {{"exactly": {receipt}}} */ {COUNT}'

        assert rows(cursor) == [{"n": 200}]
        assert rows(cursor, hint) == [{"n": 100}]
        header = "adbc.flight.sql.rpc.call_header.x-highwater-exactly"
        cursor.adbc_statement.set_options(**{header: receipt})
        assert rows(cursor) == [{"n": 100}]
        cursor.adbc_statement.set_options(**{header: ""})
        assert rows(cursor) == [{"n": 200}]


def test_a_session_option_holds_for_all_statements_of_a_session(server: Any, joint: Joint) -> None:
    cookies = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    option = "adbc.flight.sql.session.option.highwater.exactly"
    with (
        adbc.connect(
            f"grpc://127.0.0.1:{server.port}", db_kwargs=cookies, autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        receipt = receipt_of(cursor)
        joint.follow(MESSAGES[100:200], 100)
        connection.adbc_connection.set_options(**{option: receipt})
        again = rows(cursor)
        cut = json.loads(receipt_of(cursor))["tables"]["trades"]["cut"]
        with pytest.raises(adbc_driver_manager.Error, match=r"highwater\.exactly"):
            connection.adbc_connection.set_options(**{option: "nonsense"})
        closer = rows(cursor, f'/*+ highwater {{"at_least": {{"trades": {{"0": 0}}}}}} */ {COUNT}')

    assert again == [{"n": 100}]
    assert cut == json.loads(receipt)["tables"]["trades"]["cut"]
    assert closer == [{"n": 200}]


def test_a_transaction_may_begin_at_an_earlier_cut(server: Any, joint: Joint) -> None:
    with live(server.port) as connection, connection.cursor() as cursor:
        receipt = receipt_of(cursor)
    joint.follow(MESSAGES[100:200], 100)
    headers = flight.FlightCallOptions(headers=[(b"x-highwater-exactly", receipt.encode())])
    with flight.connect(f"grpc://127.0.0.1:{server.port}") as client:
        assert asked(client, begun(client, headers)) == [{"n": 100}]
        assert asked(client, begun(client)) == [{"n": 200}]


def test_a_statement_of_a_transaction_names_no_cut_of_its_own(server: Any) -> None:
    hint = f'/*+ highwater {{"at_least": {{"trades": {{"0": 1}}}}}} */ {COUNT}'
    with (
        connected(server.port) as connection,
        connection.cursor() as cursor,
        pytest.raises(adbc_driver_manager.Error, match="reads the transaction's cut"),
    ):
        rows(cursor, hint)


def test_a_server_that_stops_ends_the_waits_for_cuts(joint: Joint) -> None:
    hint = f'/*+ highwater {{"at_least": {{"trades": {{"0": 5000}}}}, "wait_s": 60}} */ {COUNT}'
    command = commands.encode(commands.StatementQuery(hint))
    failed: list[Exception] = []

    def wait(port: int) -> None:
        with flight.connect(f"grpc://127.0.0.1:{port}") as client:
            try:
                client.get_flight_info(flight.FlightDescriptor.for_command(command))
            except flight.FlightError as error:
                failed.append(error)

    clock = SystemClock()
    with serving(joint.engine) as made:
        thread = threading.Thread(target=wait, args=(made.port,))
        waits = joint.engine._pinning._waits
        free = waits._value
        thread.start()
        until_s = clock.monotonic_s() + 20
        while waits._value == free:
            assert clock.monotonic_s() < until_s, "the statement never waited"
            clock.sleep(0.01)
        begun_s = clock.monotonic_s()
        made.shutdown()
        thread.join(20)

    assert clock.monotonic_s() - begun_s < 5
    assert len(failed) == 1
