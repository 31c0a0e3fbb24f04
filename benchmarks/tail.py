"""A large tail: memory, queries, and the restart of a server that maps it again.

    python -m benchmarks.tail [--quick]

10 M messages lie in the topic and none in the lake, so all of them are the server's tail. Counts
by symbol and the row of an id are known from the seeded feed; answers must agree before anything
is timed. `restart` is from the start of the second server process to its first answer that counts
every row.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Report, anonymous_rss_bytes, main, require_equal
from benchmarks.stack import Child, Stack, say, value_of
from ingest.feeds.synthetic import Shape, SyntheticFeed

if TYPE_CHECKING:
    import argparse

    import pyarrow as pa

_ROWS = {False: 10_000_000, True: 1_500_000}
_ROUNDS = {False: 15, True: 7}
_FEED_S = 900.0
_FOLLOW_S = 900.0
_SETTLE_S = 2.0  # for the keeper to seal what is open, and for a statement's memory to go
_RING = 16_384  # the feed's messages repeat their symbols after so many
_ARROW_SAMPLE_ROWS = 100_000
_COUNT = "select count(*) from trades"
_BY_SYMBOL = "select symbol, count(*) as trades from trades group by symbol"


@dataclass(frozen=True, slots=True)
class LargeTail:
    """One run; memory in bytes."""

    rows: int
    follow_per_s: float
    follow_cpu_us: float
    rss_anon_bytes: int
    rss_anon_peak_bytes: int
    rss_anon_warm_bytes: int
    restart_s: float
    stop_s: float
    query_ms: dict[str, float]
    tail_bytes_a_row: float
    arrow_bytes_a_row: float
    chunks: int


def body(args: argparse.Namespace, report: Report) -> None:
    """One run."""
    found = measure(_ROWS[args.quick], _ROUNDS[args.quick], args.seed)
    report.figure("rows", found.rows)
    report.figure("follow_messages_per_s", found.follow_per_s)
    report.figure("follow_cpu_us_per_message", found.follow_cpu_us)
    for name, time_ms in found.query_ms.items():
        report.figure(f"{name}_ms", time_ms)
    report.figure("chunks", found.chunks)
    report.figure("tail_bytes_per_row", found.tail_bytes_a_row)
    report.figure("arrow_bytes_per_row", found.arrow_bytes_a_row)
    report.figure("anonymous_rss_peak_mb", found.rss_anon_peak_bytes / 1e6)
    report.figure("anonymous_rss_after_restart_mb", found.rss_anon_warm_bytes / 1e6)
    report.figure("stop_s", found.stop_s)
    report.at_most("anonymous_rss_mb", found.rss_anon_bytes / 1e6, 400)
    report.at_most("warm_restart_to_exact_answer_s", found.restart_s, 3.0)


def measure(rows: int, rounds: int, seed: int) -> LargeTail:
    """Fill, follow, ask, restart, ask again."""
    with Stack("tail") as stack:
        stack.make_tables()
        say(f"producing {rows:,} messages")
        stack.feed(rows, 0, seed).wait(_FEED_S)
        say("following")
        cold = stack.serve()
        peak_bytes = 0

        def all_there(found: Any) -> bool:
            nonlocal peak_bytes
            peak_bytes = max(peak_bytes, anonymous_rss_bytes(cold.pid))
            return bool(found == rows)

        follow_s = stack.ready(cold, _COUNT, all_there, _FOLLOW_S)
        cpu_s = cold.cpu_s()
        query_ms, sizes = _asked(stack, rows, rounds, seed)
        time.sleep(_SETTLE_S)
        anon_bytes = anonymous_rss_bytes(cold.pid)
        stop_s = _stopped(cold)
        say("starting again")
        warm = stack.serve()
        restart_s = stack.ready(warm, _COUNT, lambda found: bool(found == rows), _FOLLOW_S)
        with stack.connected() as connection:
            _require_right(connection, rows, seed)
        return LargeTail(
            rows=rows,
            follow_per_s=rows / follow_s,
            follow_cpu_us=cpu_s / rows * 1e6,
            rss_anon_bytes=anon_bytes,
            rss_anon_peak_bytes=peak_bytes,
            rss_anon_warm_bytes=anonymous_rss_bytes(warm.pid),
            restart_s=restart_s,
            stop_s=stop_s,
            query_ms=query_ms,
            **sizes,
        )


def expected_by_symbol(rows: int, seed: int) -> dict[str, int]:
    """Rows of each symbol among the first messages of the feed with that seed."""
    feed = SyntheticFeed(Shape(), random.Random(seed), prefix=seed)
    symbols = [(key or b"").decode() for key, _ in feed.take(_RING, 0)]
    whole, rest = divmod(rows, _RING)
    counts = Counter({symbol: n * whole for symbol, n in Counter(symbols).items()})
    counts.update(symbols[:rest])
    return {symbol: n for symbol, n in counts.items() if n}


def _asked(
    stack: Stack, rows: int, rounds: int, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    queries = {
        "count": _COUNT,
        "group_by_symbol": _BY_SYMBOL,
        "point_by_id": f"select * from trades where message_id = '{_id_of(rows // 2, seed)}'",
        "top_100_by_time": "select timestamp, symbol, price from trades "
        "order by timestamp desc, source_sequence desc limit 100",
    }
    with stack.connected() as connection:
        _require_right(connection, rows, seed)
        times_ms: dict[str, list[float]] = {name: [] for name in queries}
        for _ in range(rounds):
            for name, sql in queries.items():
                begun_s = time.perf_counter()
                _table_of(connection, sql)
                times_ms[name].append((time.perf_counter() - begun_s) * 1e3)
        each = "select distinct chunk, lane, bytes from system.tail_chunks"
        chunks = f"select sum(bytes), count(*) from ({each})"
        found = _table_of(connection, chunks)
        sample = _table_of(connection, f"select * from trades_tail limit {_ARROW_SAMPLE_ROWS}")
    return {name: median(times) for name, times in times_ms.items()}, {
        "tail_bytes_a_row": found.column(0)[0].as_py() / rows,
        "chunks": found.column(1)[0].as_py(),
        "arrow_bytes_a_row": sample.nbytes / sample.num_rows,
    }


def _require_right(connection: Any, rows: int, seed: int) -> None:
    found = {r["symbol"]: r["trades"] for r in _table_of(connection, _BY_SYMBOL).to_pylist()}
    require_equal("counts by symbol of feed and answer", expected_by_symbol(rows, seed), found)
    number = rows // 2
    point = f"select source_sequence from trades where message_id = '{_id_of(number, seed)}'"
    require_equal("numbers of the row of an id", number, value_of(connection, point))


def _id_of(number: int, seed: int) -> str:
    return f"{seed:08x}-0000-4000-8000-{number:012x}"


def _table_of(connection: Any, sql: str) -> pa.Table:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def _stopped(server: Child) -> float:
    begun_s = time.monotonic()
    server.stop()
    return time.monotonic() - begun_s


if __name__ == "__main__":
    sys.exit(main("tail", "A tail of 10 M rows.", body))
