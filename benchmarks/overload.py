"""What an overload does to answers and the lake: three times what the sidecar takes, then calm.

    python -m benchmarks.overload [--quick]

Real broker, feeds, sidecar and server. The sidecar is throttled: it is stopped and continued by
signals, so that it has a tenth of the time. First it ingests a backlog, which tells the rate that
it can sustain. Then come a time at half of that rate, the overload at three times of it, and half
of it again until every lane is in the lake and the level is NORMAL. All the while this process
asks, in turns, for the number of rows, which must be what the receipt's cut promises, and for the
newest row of lane HIGH in the lake: its age is the commit freshness.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Report, main, rss_bytes
from benchmarks.stack import TRADES, Child, Stack
from highwater.sql import RECEIPT_KEY

if TYPE_CHECKING:
    import argparse

_ON_S, _OFF_S = 0.02, 0.18
_BACKLOG = {False: 400_000, True: 150_000}
_CALM_S = {False: 20.0, True: 8.0}
_LOAD_S = {False: 60.0, True: 12.0}
_DRAIN_S = 240.0
_PERIOD_S = 0.25
_SIDECARS = 2  # the one of the backlog, and the one that is overloaded
_RSS_MAX = 2 * 1024**3
_COUNT = "select count(*) from trades"
_NEWEST = (
    "select arrow_cast(max(_timestamp), 'Int64') from trades_history"
    " where price * quantity >= 100000 and _timestamp > now() - interval '10 minutes'"
)


class Throttle:
    """Lets a process run for a tenth of the time."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        os.kill(self._child.pid, signal.SIGCONT)

    def _run(self) -> None:
        while not self._ended.is_set():
            os.kill(self._child.pid, signal.SIGSTOP)
            time.sleep(_OFF_S)
            os.kill(self._child.pid, signal.SIGCONT)
            time.sleep(_ON_S)


@dataclass
class Phase:
    """What was seen in one phase."""

    statement_ms: list[float] = field(default_factory=list)
    freshness_s: list[float] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    begun_s: float = field(default_factory=time.time)


class Watch:
    """Asks, compares, and notes; `rss` is the most that the sidecar had."""

    def __init__(self, connection: Any, sidecar: Child) -> None:
        self._connection = connection
        self._sidecar = sidecar
        self.rss = 0
        self.receipt: dict[str, Any] = {}

    def look(self, phase: Phase) -> None:
        """One turn."""
        self.rss = max(self.rss, rss_bytes(self._sidecar.pid))
        begun_s = time.perf_counter()
        rows, self.receipt = self._ask(_COUNT)
        phase.statement_ms.append((time.perf_counter() - begun_s) * 1e3)
        promised = sum(min(lanes.values()) for lanes in self.receipt["cut"].values())
        if rows != promised:
            raise RuntimeError(f"{rows} rows, the receipt promises {promised}: {self.receipt}")
        newest_us, _ = self._ask(_NEWEST)
        if newest_us is not None and newest_us / 1e6 > phase.begun_s:  # not what was there before
            phase.freshness_s.append(time.time() - newest_us / 1e6)
        phase.levels.append(self.receipt["level"])

    def lake_rows(self) -> int:
        """How far the lake is in all lanes."""
        return sum(min(lanes.values()) for lanes in self.receipt["lake"].values())

    def behind(self) -> int:
        """Offsets between the foremost and the last lane of the lake."""
        lanes = self.receipt["lake"].values()
        return sum(max(by_lane.values()) - min(by_lane.values()) for by_lane in lanes)

    def _ask(self, sql: str) -> tuple[Any, dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            table = cursor.fetch_arrow_table()
        receipt = json.loads(table.schema.metadata[RECEIPT_KEY])["tables"][TRADES.name]
        return table.column(0)[0].as_py(), receipt


def body(args: argparse.Namespace, report: Report) -> None:
    """One run."""
    with Stack("overload") as stack:
        stack.make_tables()
        server = stack.serve()
        stack.ready(server, _COUNT, lambda n: n == 0, 60)
        stack.feed(_BACKLOG[args.quick], 0, args.seed).wait(120)
        rate = report.figure("sustainable_messages_per_s", _sustainable(stack))
        sidecar = _started(stack, stack.ingest("--flush-interval-s", "2", *_bands(rate)))
        with Throttle(sidecar), stack.connected() as connection:
            watch = Watch(connection, sidecar)
            before = _phase(stack, watch, rate / 2, _CALM_S[args.quick], args.seed + 1)
            during = _phase(stack, watch, rate * 3, _LOAD_S[args.quick], args.seed + 2)
            drain_s, after = _drain(stack, watch)
    _tell(report, before, during, after)
    report.figure("time_to_normal_s", drain_s)
    report.at_most("sidecar_rss_of_cap_ratio", watch.rss / _RSS_MAX, 1.1)


def _started(stack: Stack, sidecar: Child) -> Child:
    """When it has claimed the table: throttled, its start alone would take half a minute."""
    until_s = time.monotonic() + 60
    while (stack.folder / "ingest.log").read_text().count("rows seeded") < _SIDECARS:
        sidecar.check()
        if time.monotonic() > until_s:
            raise RuntimeError("the sidecar does not start")
        time.sleep(_PERIOD_S)
    return sidecar


def _bands(rate: float) -> list[str]:
    """A breaker in proportion to the rate; the defaults are for an untouched sidecar."""
    enters = [rate, 2 * rate, 4 * rate, 8 * rate]
    leaves = [rate / 2, *(low for low, _ in pairwise(enters))]
    bands = [f"{e:.0f}:{leave:.0f}" for e, leave in zip(enters, leaves, strict=True)]
    flags = ["--breaker-lag-messages", ",".join(bands), "--breaker-down-s", "3"]
    return [*flags, "--rss-max-bytes", str(_RSS_MAX)]


def _sustainable(stack: Stack) -> float:
    """Messages per second that the throttled sidecar takes from the backlog."""
    total = sum(stack.ends().values())
    sidecar = stack.ingest("--no-breaker", "--flush-rows", str(total // 8))
    marks: list[tuple[float, int]] = []
    with Throttle(sidecar), stack.connected() as connection:
        watch, phase, until_s = Watch(connection, sidecar), Phase(), time.monotonic() + _DRAIN_S
        while not marks or marks[-1][1] < total:
            watch.look(phase)
            if not marks or watch.lake_rows() > marks[-1][1]:
                marks.append((time.monotonic(), watch.lake_rows()))
            if time.monotonic() > until_s:
                raise RuntimeError(f"the backlog is not ingested: {sidecar.last_words()}")
            time.sleep(_PERIOD_S)
    sidecar.stop()
    begun, ended = marks[1], marks[-1]  # the first mark is the empty table
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def _phase(stack: Stack, watch: Watch, rate: float, seconds: float, seed: int) -> Phase:
    phase, until_s = Phase(), time.monotonic() + seconds
    feed = stack.feed(int(rate * seconds), rate, seed)
    while time.monotonic() < until_s:
        watch.look(phase)
        time.sleep(_PERIOD_S)
    feed.wait(120)
    return phase


def _drain(stack: Stack, watch: Watch) -> tuple[float, Phase]:
    """Until all is in the lake and the level is NORMAL; seconds, from the end of the feed."""
    phase, begun_s, total = Phase(), time.monotonic(), sum(stack.ends().values())
    while True:
        watch.look(phase)
        if watch.lake_rows() == total and watch.receipt["level"] == "NORMAL":
            return time.monotonic() - begun_s, phase
        if time.monotonic() > begun_s + _DRAIN_S:
            raise RuntimeError(f"not drained: {watch.receipt}")
        time.sleep(_PERIOD_S)


def _tell(report: Report, before: Phase, during: Phase, after: Phase) -> None:
    report.figure("statements", sum(len(p.statement_ms) for p in (before, during, after)))
    fresh = [float(np.median(p.freshness_s)) for p in (before, during)]
    slow = [float(np.percentile(p.statement_ms, 99)) for p in (before, during)]
    for name, values, unit in (("high_freshness", fresh, "s"), ("statement_p99", slow, "ms")):
        for when, value in zip(("before", "during"), values, strict=True):
            report.figure(f"{name}_{when}_{unit}", value)
    order = ("NORMAL", "LIGHT", "MODERATE", "SEVERE", "CRITICAL")
    seen = [order.index(level) for level in (*during.levels, *after.levels)]
    report.at_least("highest_level", max(seen), order.index("MODERATE"))
    report.at_most("high_freshness_during_over_before_ratio", fresh[1] / fresh[0], 2.0)
    report.at_most("statement_p99_during_over_before_ratio", slow[1] / slow[0], 2.0)


if __name__ == "__main__":
    sys.exit(main("overload", "What does an overload do to answers, and to the lake?", body))
