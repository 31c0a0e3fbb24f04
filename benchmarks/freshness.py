"""From produced to visible in an answer, at 50,000 messages a second, beside a bare consumer.

    python -m benchmarks.freshness [--quick] [--sidecar]

Real broker, real server process, a producer and a consumer in processes of their own. This
process asks `select count(*) from trades` over ADBC every 10 ms; the receipt of each answer says
which offsets it covers, and the count must be their sum. A message is visible when the first
answer that covers it has arrived in full: the wait for the next question, planning, execution and
transport are all in the number. The stamp is `ingestion_timestamp`, put in when the message is
made, before the producer's linger of 5 ms. The bare consumer reads the same log at the same time.
With --sidecar the rows are committed to the lake meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from adbc_driver_manager import AdbcStatement

from benchmarks._visibility import Integers, Stamped, delays_us
from benchmarks.harness import Report, main
from benchmarks.stack import PARTITIONS, TRADES, Child, Stack
from highwater.sql import RECEIPT_KEY

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 50_000
_SECONDS = {False: 30, True: 10}
_WARM_UP_S = {False: 5.0, True: 3.0}
_PERIOD_S = 0.010
_QUESTION = "select count(*) from trades"
_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Looks:
    """What asking found: `notes` as in `_visibility`, and how long each statement took."""

    notes: Integers
    statement_ms: list[float]


@dataclass(frozen=True, slots=True)
class Freshness:
    """The result: delays in milliseconds, and what was going on."""

    answer_ms: NDArray[np.float64]
    consumer_ms: NDArray[np.float64]
    statement_ms: float
    looks_per_s: float
    rate: float
    cpu: dict[str, float]  # cores used, by process


def body(args: argparse.Namespace, report: Report) -> None:
    """One run."""
    found = measure(args.quick, args.sidecar, args.seed)
    report.figure("produced_messages_per_s", found.rate)
    report.figure("messages", len(found.answer_ms))
    for name, delays_ms in (("consumer", found.consumer_ms), ("answer", found.answer_ms)):
        for quantile in (50, 90, 99, 100):
            report.figure(f"{name}_p{quantile}_ms", float(np.percentile(delays_ms, quantile)))
    report.figure("statement_p50_ms", found.statement_ms)
    report.figure("statements_per_s", found.looks_per_s)
    for name, cores in found.cpu.items():
        report.figure(f"{name}_cpu_us_per_message", cores / found.rate * 1e6)
    report.at_least("produced_share_of_50k_ratio", found.rate / RATE, 0.98)
    report.at_most("answer_p50_ms", float(np.percentile(found.answer_ms, 50)), 25.0)
    report.at_most("answer_p99_ms", float(np.percentile(found.answer_ms, 99)), 120.0)


def measure(quick: bool, sidecar: bool, seed: int) -> Freshness:
    """One run."""
    count = RATE * _SECONDS[quick]
    with Stack("freshness") as stack:
        stack.make_tables()
        server = stack.serve()
        stack.ready(server, _QUESTION, lambda n: n == 0, 60)
        children = {"server": server}
        if sidecar:
            children["sidecar"] = stack.ingest()
        result = stack.folder / "bare.npy"
        children["consumer"] = _bare_consumer(stack, count, result)
        children["producer"] = stack.feed(count, RATE, seed)
        looks, cpu = _look(stack, children, count)
        children["consumer"].wait(60)
        messages = _messages(stack)
        messages.require_whole(stack.ends())
        return _result(messages, looks, np.load(result), cpu, quick)


def _bare_consumer(stack: Stack, count: int, result: Path) -> Child:
    argv = [stack.kafka, TRADES.topic, str(PARTITIONS), str(count), str(result)]
    child = stack.start("bare", ["-m", "benchmarks._bare_consumer", *argv])
    until_s = time.monotonic() + _LIMIT_S
    while "ready" not in child.last_words():
        child.check()
        if time.monotonic() > until_s:
            raise RuntimeError("the bare consumer does not start")
        time.sleep(0.05)
    return child


def _look(stack: Stack, children: dict[str, Child], count: int) -> tuple[Looks, dict[str, float]]:
    """Ask at a steady pace until all are seen; beside it the cores that each process used."""
    notes: list[list[int]] = []
    statement_ms: list[float] = []
    begun_s = next_s = time.monotonic()
    cpu_s: dict[str, float] = {}
    before = {name: child.cpu_s() for name, child in children.items()}
    with stack.connected() as connection:
        while not notes or sum(notes[-1][1:]) < count:
            if time.monotonic() > begun_s + count / RATE + _LIMIT_S:
                raise RuntimeError(f"only {sum(notes[-1][1:])} of {count} became visible")
            asked_s = time.perf_counter()
            notes.append(_one_look(connection))
            statement_ms.append((time.perf_counter() - asked_s) * 1e3)
            if len(notes) % 100 == 0:
                cpu_s |= {n: c.cpu_s() - before[n] for n, c in children.items() if c.cpu_s()}
            next_s = max(next_s + _PERIOD_S, time.monotonic())
            time.sleep(max(0.0, next_s - time.monotonic()))
    lasted_s = time.monotonic() - begun_s
    cores = {name: used / lasted_s for name, used in cpu_s.items()}
    return Looks(np.array(notes, dtype=np.int64), statement_ms), cores


def _one_look(connection: Any) -> list[int]:
    # Without the preparation that a DB-API cursor adds: each look would cost the server twice.
    with AdbcStatement(connection.adbc_connection) as statement:
        statement.set_sql_query(_QUESTION)
        stream, _ = statement.execute_query()
        answer = pa.RecordBatchReader.from_stream(stream).read_all()
    seen_us = time.time_ns() // 1_000
    receipt = json.loads(answer.schema.metadata[RECEIPT_KEY])
    cut = receipt["tables"][TRADES.name]["cut"]
    offsets = [min(cut.get(str(p), {"": 0}).values()) for p in range(PARTITIONS)]
    found = answer.column(0)[0].as_py()
    if found != sum(offsets):
        raise RuntimeError(f"an answer of {found} rows whose receipt covers {sum(offsets)}")
    return [seen_us, *offsets]


def _messages(stack: Stack) -> Stamped:
    columns = "_partition, _offset, ingestion_timestamp"
    with stack.connected() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"select {columns} from trades_history union all select {columns} from trades_tail"
        )
        rows: pa.Table = cursor.fetch_arrow_table()
    numbers = [c.cast(pa.int64()).to_numpy() for c in rows.columns]
    return Stamped(*numbers)


def _result(
    messages: Stamped, looks: Looks, bare: Integers, cpu: dict[str, float], quick: bool
) -> Freshness:
    first_us, last_us = int(messages.stamps_us.min()), int(messages.stamps_us.max())
    from_us = first_us + int(_WARM_UP_S[quick] * 1e6)
    asked_s = (looks.notes[-1, 0] - looks.notes[0, 0]) / 1e6
    return Freshness(
        answer_ms=delays_us(messages, looks.notes, from_us) / 1e3,
        consumer_ms=delays_us(messages, bare, from_us) / 1e3,
        statement_ms=median(looks.statement_ms),
        looks_per_s=len(looks.statement_ms) / asked_s,
        rate=len(messages.offsets) / ((last_us - first_us) / 1e6),
        cpu=cpu,
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sidecar", action="store_true", help="commit to the lake meanwhile")


if __name__ == "__main__":
    sys.exit(main("freshness", "From produced to visible in an answer.", body, options=_options))
