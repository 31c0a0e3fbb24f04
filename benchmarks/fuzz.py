"""Random calls of every kind against a real server: it must answer each one, and go on.

Well-formed messages are mutated: bytes changed, cut, doubled; other types, huge and deep
statements, foreign handles. The server runs as a process; its tables have no broker to read from.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.any_pb2 import Any as AnyMessage
from pyarrow import flight

from benchmarks.harness import Report, anonymous_rss_bytes, main
from benchmarks.stack import BENCH, Child, say
from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from ingest.kafka.ports import HOST, free_port

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

_CALL_LIMIT_S = 10.0
_READY_S = 60.0
_BATCHES_MAX = 20
_LEAKS = ("Traceback", 'File "', "/site-packages/")
_ACTIONS = (
    "CreatePreparedStatement",
    "ClosePreparedStatement",
    "CancelFlightInfo",
    "CancelQuery",
    "RenewFlightEndpoint",
    "SetSessionOptions",
    "GetSessionOptions",
    "CloseSession",
    "BeginTransaction",
    "EndTransaction",
    "NoSuchAction",
)


def statements(rng: random.Random) -> str:
    """A statement: good, wrong, long, deep, or of any characters."""
    return rng.choice(
        (
            lambda: "SELECT 1 AS one, 'x' AS text",
            lambda: "SELECT * FROM system.tables, information_schema.tables",
            lambda: "SELECT " + "(" * (depth := rng.randrange(2_000)) + "1" + ")" * depth,
            lambda: "SELECT '" + "x" * rng.randrange(1 << 20) + "'",
            lambda: "SELECT 1 WHERE " + " OR ".join(["1 = 2"] * rng.randrange(1, 500)),
            lambda: "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randrange(200))),
            lambda: "SELECT value FROM generate_series(1, 1000000)",
        )
    )()


def body(rng: random.Random) -> bytes:
    """A message, mutated more often than not."""
    good = rng.choice(
        (
            lambda: commands.encode(commands.StatementQuery(statements(rng))),
            lambda: commands.encode(commands.TicketStatementQuery(rng.randbytes(16))),
            lambda: commands.encode(commands.PreparedStatementQuery(rng.randbytes(16))),
            lambda: _any("CommandGetTables", pb.CommandGetTables(table_name_filter_pattern="%")),
            lambda: _any("CommandGetSqlInfo", pb.CommandGetSqlInfo(info=[rng.randrange(1 << 32)])),
            lambda: _any("No" + "Such" * rng.randrange(50), pb.CommandGetCatalogs()),
            lambda: rng.randbytes(rng.randrange(300)),
        )
    )()
    return good if rng.random() < 0.4 else mutated(good, rng)


def mutated(message: bytes, rng: random.Random) -> bytes:
    """`message` cut, doubled, or with some bytes changed."""
    kind = rng.randrange(3)
    if kind == 0 or not message:
        return message[: rng.randrange(len(message) + 1)]
    if kind == 1:
        return message + message
    changed = bytearray(message)
    for _ in range(rng.randrange(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def call(client: flight.FlightClient, rng: random.Random) -> None:
    """One call; raises what the server answered."""
    options = flight.FlightCallOptions(timeout=_CALL_LIMIT_S)
    descriptor = flight.FlightDescriptor.for_command(body(rng))
    kind = rng.randrange(4)
    if kind == 0:
        info = client.get_flight_info(descriptor, options)
        if rng.random() < 0.5:
            _read(client.do_get(info.endpoints[0].ticket, options))
    elif kind == 1:
        client.get_schema(descriptor, options)
    elif kind == 2:
        _read(client.do_get(flight.Ticket(body(rng)), options))
    else:
        for _ in client.do_action(flight.Action(rng.choice(_ACTIONS), body(rng)), options):
            pass


def run(args: argparse.Namespace, report: Report) -> None:
    """The calls, then whether the server is as it was."""
    calls = min(args.calls, 300) if args.quick else args.calls
    with serving("fuzz") as (server, client):
        _calls(client, calls // 10, args.seed + 1)  # what it keeps for all time is made now
        before_bytes = anonymous_rss_bytes(server.pid)
        seen = _calls(client, calls, args.seed)
        time.sleep(3.0)  # the server gives memory back every two seconds
        until_ready(client, server)
        growth = anonymous_rss_bytes(server.pid) / before_bytes
    report.figure("calls", calls)
    report.figure("refused_calls", seen["refused"])
    report.at_most("texts_with_a_trace", seen["leaks"], 0)
    report.at_most("slowest_call_s", seen["slowest_s"], _CALL_LIMIT_S)
    report.at_most("memory_after_over_before_ratio", growth, 1.1)


def _calls(client: flight.FlightClient, calls: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    seen: dict[str, Any] = {"refused": 0, "leaks": 0, "slowest_s": 0.0}
    for _ in range(calls):
        start_s = time.monotonic()
        try:
            call(client, rng)
        except Exception as error:  # noqa: BLE001 - an answer of the server, of any class
            seen["refused"] += 1
            if any(leak in str(error) for leak in _LEAKS):
                seen["leaks"] += 1
                say(f"a text with a trace: {error!s:.300}")
        seen["slowest_s"] = max(seen["slowest_s"], time.monotonic() - start_s)
    return seen


def _read(stream: flight.FlightStreamReader) -> None:
    for _ in range(_BATCHES_MAX):
        try:
            stream.read_chunk()
        except StopIteration:
            return
    stream.cancel()


def _any(name: str, message: Any) -> bytes:
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    return bytes(AnyMessage(type_url=url, value=message.SerializeToString()).SerializeToString())


def until_ready(client: flight.FlightClient, server: Child) -> None:
    """Ask until it answers; RuntimeError if the process is gone."""
    ask: Callable[[], object] = lambda: client.get_flight_info(  # noqa: E731
        flight.FlightDescriptor.for_command(commands.encode(commands.StatementQuery("SELECT 1")))
    )
    until_s = time.monotonic() + _READY_S
    while True:
        server.check()
        try:
            ask()
        except flight.FlightError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
        else:
            return


@contextmanager
def serving(name: str) -> Iterator[tuple[Child, flight.FlightClient]]:
    """A server without a broker, in a process of its own, and a client of it."""
    BENCH.mkdir(parents=True, exist_ok=True)
    folder, port = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BENCH)), free_port()
    argv = ["-m", "highwater", "serve", "--data-dir", str(folder), "--health-port", "0"]
    server = Child([*argv, "--port", str(port), "--kafka", f"{HOST}:1"], folder / "serve.log")
    try:
        with flight.connect(f"grpc://{HOST}:{port}") as client:
            until_ready(client, server)
            yield server, client
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=100_000, help="how many")


if __name__ == "__main__":
    sys.exit(main("fuzz", "answers every call, however wrong it is", run, options=_options))
