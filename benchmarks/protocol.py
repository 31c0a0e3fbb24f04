"""What a statement costs above the transport: the server against a bare one with constants.

    python -m benchmarks.protocol [--quick]

Both answer the same RPCs to the same ADBC driver: prepare, GetFlightInfo, DoGet, close, as its
DB-API cursors send them. `one` is a warm `SELECT 1` on one connection; `clients_16` are 16
connections that ask it at once; `stream` is a large part of the tail (160 MB; quick: 32 MB), which
the bare server has in memory. Rounds are interleaved. `cpu` is of the server processes.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks._bare_flight import LARGE
from benchmarks.harness import Report, interleaved, main, require_equal
from benchmarks.stack import ROOT, Stack
from benchmarks.stack import cpu_s as process_cpu_s
from highwater.sql import connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

OURS, BARE = "highwater", "bare"

_ROWS = {False: 700_000, True: 140_000}  # about 230 bytes each
_ROUNDS = {False: 15, True: 5}
_ONES = {False: 200, True: 100}  # statements a round
_CLIENTS = 16
_FEED_S = 300.0
_ASK_S = 120.0
_ONE = "select 1"
_ALL = "select * from trades_tail"


def body(args: argparse.Namespace, report: Report) -> None:
    """Start both, compare their answers, then time them in turns."""
    rows = _ROWS[args.quick]
    with Stack("protocol") as stack:
        stack.make_tables()
        stack.feed(rows, 0, args.seed).wait(_FEED_S)
        server = stack.serve()
        stack.ready(server, "select count(*) from trades", lambda n: bool(n == rows), _FEED_S)
        large = stack.folder / "large.arrow"
        with stack.connected() as connection:
            _write(_fetched(connection, _ALL), large)
        with _bare_server(large) as (bare, bare_uri):
            uris = {OURS: stack.uri, BARE: bare_uri}
            cpu_s = {OURS: server.cpu_s, BARE: lambda: process_cpu_s(bare)}
            _one(args, report, uris, cpu_s)
            _many(args, report, uris)
            _stream(args, report, uris, large.stat().st_size)


def _one(
    args: argparse.Namespace,
    report: Report,
    uris: dict[str, str],
    cpu_s: dict[str, Callable[[], float]],
) -> None:
    count = _ONES[args.quick]
    used_s = dict.fromkeys(uris, 0.0)
    with contextlib.ExitStack() as opened:
        connections = {n: opened.enter_context(connect(u, _ASK_S)) for n, u in uris.items()}

        def ask(name: str) -> Callable[[], pa.Table]:
            def run() -> pa.Table:
                before_s = cpu_s[name]()
                answers = [_fetched(connections[name], _ONE) for _ in range(count)]
                used_s[name] += cpu_s[name]() - before_s
                return answers[-1]

            return run

        rounds = interleaved({n: ask(n) for n in uris}, _ROUNDS[args.quick], _same)
    asked = count * (_ROUNDS[args.quick] + 1)
    for name in uris:
        report.figure(f"one_{name}_ms", rounds[name].median_s / count * 1e3)
        report.figure(f"one_{name}_spread_pct", rounds[name].spread * 100)
        report.figure(f"one_{name}_server_cpu_ms", used_s[name] / asked * 1e3)
    report.at_most("one_highwater_over_bare_ratio", rounds.ratio(OURS, BARE), 1.3)


def _many(args: argparse.Namespace, report: Report, uris: dict[str, str]) -> None:
    each = _ONES[args.quick] // 4
    with contextlib.ExitStack() as opened:
        connections = {
            name: [opened.enter_context(connect(uri, _ASK_S)) for _ in range(_CLIENTS)]
            for name, uri in uris.items()
        }

        def ask(name: str) -> Callable[[], pa.Table]:
            return lambda: _together(connections[name], each)

        rounds = interleaved({n: ask(n) for n in uris}, _ROUNDS[args.quick], _same)
    for name in uris:
        report.samples(f"clients_16_{name}", rounds[name], each * _CLIENTS, "statements")
    report.at_least("clients_16_highwater_over_bare_ratio", rounds.ratio(BARE, OURS), 0.7)


def _stream(args: argparse.Namespace, report: Report, uris: dict[str, str], size: int) -> None:
    texts = {OURS: _ALL, BARE: LARGE}
    with contextlib.ExitStack() as opened:
        connections = {n: opened.enter_context(connect(u, _ASK_S)) for n, u in uris.items()}

        def ask(name: str) -> Callable[[], pa.Table]:
            return lambda: _fetched(connections[name], texts[name])

        def same(answers: dict[str, pa.Table]) -> None:
            ours, bare = (answers[n].sort_by(_ORDER) for n in (OURS, BARE))
            require_equal("the large results", expected=True, found=bare.equals(ours))

        rounds = interleaved({n: ask(n) for n in uris}, _ROUNDS[args.quick], same)
    report.figure("stream_mb", size / 1e6)
    for name in uris:
        report.samples(f"stream_{name}", rounds[name], size // 1_000_000, "mb")
    report.at_least("stream_highwater_over_bare_ratio", rounds.ratio(BARE, OURS), 0.9)


_ORDER = [("_partition", "ascending"), ("_offset", "ascending")]


def _fetched(connection: Any, sql: str) -> pa.Table:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def _together(connections: list[Any], each: int) -> pa.Table:
    """All connections ask so often; the last answer of one of them. Raises what one of them met."""
    failed: list[Exception] = []
    last: list[pa.Table] = []

    def ask(connection: Any) -> None:
        try:
            for _ in range(each):
                last[:] = [_fetched(connection, _ONE)]
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(c,)) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return last[-1]


def _same(answers: dict[str, pa.Table]) -> None:
    require_equal("the answers", answers[BARE].to_pylist(), answers[OURS].to_pylist())


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@contextlib.contextmanager
def _bare_server(large: Path) -> Iterator[tuple[int, str]]:
    """Process id and address of a bare server."""
    argv = [sys.executable, "-m", "benchmarks._bare_flight", str(large)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield process.pid, f"grpc://127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main("protocol", "What a statement costs above the transport.", body))
