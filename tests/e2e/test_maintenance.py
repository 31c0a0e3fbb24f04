"""Real sidecar and server: small files are put together and removed under running statements."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from tests.support.joint import sample_messages
from tests.support.stack import PROOF, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

MESSAGES = sample_messages()
# Everything much more often than anybody would.
MAINTAINED = (
    "--flush-interval-s=0.05",
    "--maintenance-interval-s=0.2",
    "--orphan-interval-s=0.3",
    "--compact-within-s=2",
    "--expire-every-commits=3",
    "--keep-snapshots=2",
)


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic(partitions=2))
    yield made
    made.stop()


def data_files(stack: Stack) -> list[Path]:
    return list((stack.folder / "data").rglob("trades/data/**/*.parquet"))


def compactions(stack: Stack) -> int:
    return (stack.folder / "ingest.log").read_text().count(" compacted table=public.trades ")


def feed(stack: Stack, flushes: range) -> Iterator[dict[str, Any]]:
    """Forty messages after the other, each a commit; what is found before and after it."""
    for number in flushes:
        stack.produce(MESSAGES[40 * number : 40 * number + 40], partition=number % 2)
        lake = 0
        while lake < 40 * number + 40:
            (row,) = stack.ask(PROOF)
            assert row["n"] == row["ids"] == row["cut"] == row["lake"] + row["tail"], row
            lake = row["lake"]
            yield row


def test_answers_stay_exact_while_files_are_put_together_and_removed(stack: Stack) -> None:
    stack.start("ingest", *MAINTAINED, "--orphan-grace-s=1", stack.watched("ingest"))
    stack.start("serve")
    wait_until(lambda: stack.try_ask(PROOF), lambda: f"no table: {stack.logs()}")

    seen = list(feed(stack, range(30)))

    assert [row["cut"] for row in seen] == sorted(row["cut"] for row in seen)
    stack.wait_for_rows(1_200, "trades_history")
    wait_until(lambda: compactions(stack) >= 2, stack.logs)

    def shown() -> Any:
        figures = stack.status("ingest")["tables"]["trades"]
        return figures.get("maintenance") == "ok" and figures["data_files"] < 20

    wait_until(shown, lambda: f"{stack.status('ingest')}")
    assert stack.ask("SELECT count(*) AS n FROM trades") == [{"n": 1_200}]


def test_a_plan_can_be_fetched_after_its_files_were_replaced_and_forgotten(stack: Stack) -> None:
    """As long as the grace lasts. The plan is made before the compaction, and read after it."""
    stack.start("ingest", *MAINTAINED, "--orphan-grace-s=600", "--compact-target-bytes=0")
    stack.start("serve", "--tickets-max=100000")
    wait_until(lambda: stack.try_ask(PROOF), lambda: f"no table: {stack.logs()}")
    list(feed(stack, range(20)))
    stack.wait_for_rows(800, "trades_history")
    with closing(flight.FlightClient(f"grpc://127.0.0.1:{stack.port}")) as client:
        sql = "SELECT count(*) AS n, sum(_offset) AS s FROM trades_history"
        ticket, before = a_ticket(client, sql), stack.ask(sql)
        stack.kill("ingest")
        stack.start("ingest", *MAINTAINED, "--orphan-grace-s=600")
        list(feed(stack, range(20, 40)))
        wait_until(lambda: compactions(stack) >= 2, stack.logs)
        assert len(data_files(stack)) > 40  # the grace lasts

        assert client.do_get(ticket).read_all().to_pylist() == before

    assert before[0]["n"] == 800


def a_ticket(client: flight.FlightClient, sql: str) -> flight.Ticket:
    command = AnyMessage(
        type_url=commands.TYPE_URL + "CommandStatementQuery",
        value=pb.CommandStatementQuery(query=sql).SerializeToString(),
    )
    descriptor = flight.FlightDescriptor.for_command(command.SerializeToString())
    return client.get_flight_info(descriptor).endpoints[0].ticket
