"""Streams that are cancelled, and many slow statements at once: the server must go on.

Each cancelled stream had at least one batch. Of the slow statements some are refused, as that many
cannot run at once; none may be left without an answer, and the server must answer others after.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from pyarrow import flight

from benchmarks.fuzz import serving, until_ready
from benchmarks.harness import Report, anonymous_rss_bytes, main
from flight_server.protocol import commands

if TYPE_CHECKING:
    import argparse

_STREAM = "SELECT value, value * 2 AS two FROM generate_series(1, 100000000)"
_SLOW = "SELECT count(*) FROM generate_series(1, 1000000000) WHERE value % 7 = 9"
_SLOW_LIMIT_S = 10.0
_IDLE_AFTER_S = 0.25
_WINDOW_S = 1.0


def run(args: argparse.Namespace, report: Report) -> None:
    """Cancelled streams one after another, then slow statements all at once."""
    cancelled, slow = (100, 40) if args.quick else (args.cancelled, args.slow)
    with serving("hostile") as (server, client):
        for _ in range(cancelled // 10 + 1):
            _cancel_one(client)
        before_bytes = anonymous_rss_bytes(server.pid)
        for _ in range(cancelled):
            _cancel_one(client)
        ended = _all_at_once(client, slow)
        time.sleep(_IDLE_AFTER_S)
        used_s = server.cpu_s()
        time.sleep(_WINDOW_S)
        busy = (server.cpu_s() - used_s) / _WINDOW_S
        time.sleep(3.0)  # the server gives memory back every two seconds
        until_ready(client, server)
        growth = anonymous_rss_bytes(server.pid) / before_bytes
    report.figure("cancelled_streams", cancelled)
    report.figure("slow_statements", slow)
    for kind in sorted(set(ended)):
        report.figure(f"slow_{kind}", ended.count(kind))
    report.at_most("slow_without_an_answer", slow - len(ended), 0)
    report.at_most("cores_busy_after", busy, 0.2)
    report.at_most("memory_after_over_before_ratio", growth, 1.1)


def _planned(client: flight.FlightClient, sql: str) -> flight.Ticket:
    command = commands.encode(commands.StatementQuery(sql))
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    return info.endpoints[0].ticket


def _cancel_one(client: flight.FlightClient) -> None:
    stream = client.do_get(_planned(client, _STREAM))
    stream.read_chunk()
    stream.cancel()


def _all_at_once(client: flight.FlightClient, count: int) -> list[str]:
    """How each of the statements ended: the class of the client's error, or `finished`."""
    ended: list[str] = []

    def one() -> None:
        options = flight.FlightCallOptions(timeout=_SLOW_LIMIT_S)
        try:
            client.do_get(_planned(client, _SLOW), options).read_all()
        except Exception as error:  # noqa: BLE001 - an answer of the server, of any class
            ended.append(type(error).__name__)
        else:
            ended.append("finished")

    threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * _SLOW_LIMIT_S)
    return list(ended)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cancelled", type=int, default=10_000, help="streams to cancel")
    parser.add_argument("--slow", type=int, default=300, help="slow statements at once")


if __name__ == "__main__":
    sys.exit(main("hostile", "goes on whatever its clients do", run, options=_options))
