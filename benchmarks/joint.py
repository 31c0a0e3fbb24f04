"""What the tail costs a query: lake and tail together against the engine's own scan of the lake.

    python -m benchmarks.joint [--quick]

20 M rows of trades in 200 Parquet files as the sidecar writes them, 100 k rows in the tail, most
of them sealed. `hybrid` is the product's engine in this process: pin, plan twice, prune, scan and
union, receipt. `native` is the same session's own scan of the same files, planned once for all
files before the clock starts. Every answer is first compared with one computed by another session
from the Parquet files and the tail's rows as plain Arrow. Rounds are interleaved; a ratio is the
median over the rounds. Below 3 ms for the lake alone the difference is judged, not the ratio.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks._joint_engine import JointEngine, joint_engine
from benchmarks.harness import Report, Rounds, interleaved, machine, main, require_equal
from benchmarks.lake_data import LakeShape, lake_folder, open_lake
from benchmarks.stack import BENCH

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import pyarrow as pa

HYBRID, NATIVE = "hybrid", "native"

_FULL = LakeShape(rows=20_000_000, files=200, days=5)
_QUICK = LakeShape(rows=2_000_000, files=20, days=5)
_TAIL_ROWS = {False: 100_000, True: 10_000}  # the same share of the lake
_ROUNDS = {False: (7, 31), True: (5, 31)}  # at least, at most
_QUERY_S = {False: 12.0, True: 1.5}  # about so long is each query measured
_SHORT_MS = 3.0  # below, a ratio says nothing and the difference counts
_RECENT_S = 15 * 60


def suite(shape: LakeShape, message_id: str) -> dict[str, str]:
    """The queries; `message_id` is one of the lake's."""
    recent = _time(shape.end_us - _RECENT_S * 1_000_000)
    day_us = shape.end_us // 86_400_000_000 * 86_400_000_000
    day = f"timestamp >= '{_time(day_us)}' and timestamp < '{_time(day_us + 86_400_000_000)}'"
    return {
        "count": "select count(*) as trades from trades",
        "recent_15_min": "select symbol, count(*) as trades, sum(quantity) as volume, "
        f"max(price) as high from trades where timestamp >= '{recent}' group by symbol",
        "point_by_id": f"select * from trades where message_id = '{message_id}'",
        "group_by_symbol": "select symbol, count(*) as trades, sum(price * quantity) as notional, "
        "min(price) as low, max(price) as high from trades group by symbol",
        "ohlc_1_min": "select date_bin(interval '1 minute', timestamp) as minute, "
        "first_value(price order by timestamp) as open, max(price) as high, min(price) as low, "
        "last_value(price order by timestamp) as close, sum(quantity) as volume "
        f"from trades where symbol = 'SYM03' and {day} group by 1",
        "top_100_by_time": "select timestamp, symbol, price, message_id from trades "
        "order by timestamp desc limit 100",
        "distinct_prices": "select count(distinct price) as prices from trades",
    }


def body(args: argparse.Namespace, report: Report) -> None:
    """All queries, each checked before it is timed."""
    shape = _QUICK if args.quick else _FULL
    report.figure("lake_rows", shape.rows)
    report.figure("tail_rows", _TAIL_ROWS[args.quick])
    BENCH.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="joint-", dir=BENCH) as scratch,
        joint_engine(shape, _TAIL_ROWS[args.quick], Path(scratch)) as engine,
    ):
        middle = f"select message_id from trades where source_sequence = {shape.rows // 2}"
        message_id = engine.check(middle)["message_id"][0].as_py()
        queries = suite(shape, message_id)
        timed = {name: _timed(engine, name, sql, args.quick) for name, sql in queries.items()}
        folder = lake_folder(open_lake(shape))
    lake_bytes = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    report.figure("lake_bytes_per_row", lake_bytes / shape.rows)
    all_rows = shape.rows + _TAIL_ROWS[args.quick]
    all_rows_s = timed["group_by_symbol"][HYBRID].median_s
    report.figure("scanned_rows_per_core_s", all_rows / all_rows_s / machine()["cores"])
    for name, rounds in timed.items():
        _figures(report, name, rounds)
    short, long = (
        [rounds for rounds in timed.values() if _is_short(rounds) is wanted]
        for wanted in (True, False)
    )
    ratios = [rounds.ratio(HYBRID, NATIVE) for rounds in long]
    report.at_most("hybrid_over_native_geometric_mean_ratio", geometric_mean(ratios), 1.10)
    report.at_most("hybrid_over_native_worst_ratio", max(ratios), 1.3)
    if short:
        report.at_most("short_queries_worst_difference_ms", max(map(_difference_ms, short)), 2.0)


def geometric_mean(ratios: list[float]) -> float:
    """Of at least one ratio."""
    return exp(mean(map(log, ratios)))


def _timed(engine: JointEngine, name: str, sql: str, quick: bool) -> Rounds:
    def check(answers: dict[str, pa.Table]) -> None:
        answer = answers[HYBRID]
        right = engine.check(sql).cast(answer.schema)
        require_equal(f"{name}: hybrid and independent answer", _rows(right), _rows(answer))
        if answer.num_rows == 0:
            raise SystemExit(f"{name}: an empty answer proves nothing")

    asked: dict[str, Callable[[], pa.Table]] = {
        HYBRID: lambda: engine.hybrid(sql),
        NATIVE: lambda: engine.native(sql),
    }
    # The first pair fills the engine's caches of footers and statistics, the second is measured.
    once_s = sum(s.times_s[0] for s in interleaved(asked, 1, check).values())
    least, most = _ROUNDS[quick]
    rounds = min(most, max(least, int(_QUERY_S[quick] / once_s)))
    return interleaved(asked, rounds, lambda _: None)


def _figures(report: Report, name: str, rounds: Rounds) -> None:
    for side, samples in rounds.items():
        report.figure(f"{name}_{side}_ms", samples.median_s * 1e3)
        report.figure(f"{name}_{side}_spread_pct", samples.spread * 100)
    report.figure(f"{name}_rounds", len(rounds[HYBRID].times_s))
    report.figure(f"{name}_ratio", rounds.ratio(HYBRID, NATIVE))
    report.figure(f"{name}_difference_ms", _difference_ms(rounds))


def _is_short(rounds: Rounds) -> bool:
    return rounds[NATIVE].median_s * 1e3 < _SHORT_MS


def _difference_ms(rounds: Rounds) -> float:
    return (rounds[HYBRID].median_s - rounds[NATIVE].median_s) * 1e3


def _rows(answer: pa.Table) -> list[str]:
    return sorted(map(repr, answer.to_pylist()))


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()


if __name__ == "__main__":
    sys.exit(main("joint", "What the tail costs a query.", body))
