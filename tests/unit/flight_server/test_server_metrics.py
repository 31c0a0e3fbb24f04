"""What `/metrics` of the server says: statements through a fake engine, tables from a document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contract.errors import RequestError
from flight_server.metrics import MeasuredEngine, Metrics
from flight_server.ports import UNWATCHED, Asker
from tests.support.failpoints import HandClock

if TYPE_CHECKING:
    from collections.abc import Generator

    from flight_server.ports import Watch

FIGURES = {"state": "lagging", "lag_messages": 7, "lag_s": 1.5, "tail_rows": 5, "tail_bytes": 64,
           "tail_chunks": 3}  # fmt: skip
DOCUMENT = {"tables": {"trades": FIGURES, "quotes": {"state": "no view", "tail_bytes": 0}}}


@dataclass
class FakePlan:
    schema: pa.Schema
    clock: HandClock
    fails: bool = False
    pinned_bytes: int = 9
    receipt: str = json.dumps({"state": "stalled"})

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        for _ in range(3):
            self.clock.sleep(2.0)
            yield pa.RecordBatch.from_pydict({"x": [1, 2]}, self.schema)
            if self.fails:
                raise RequestError("scripted")


class FakeEngine:
    """Plans take half a second; the text `fail` makes a stream that fails, `bad` is refused."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock

    def plan(self, sql: str, _parameters: Any, _asker: Asker) -> FakePlan:
        self.clock.sleep(0.5)
        if sql == "bad":
            raise RequestError("scripted")
        return FakePlan(pa.schema([("x", pa.int64())]), self.clock, sql == "fail")


class Bench:
    def __init__(self) -> None:
        clock = HandClock()
        self.metrics = Metrics(lambda: DOCUMENT)
        engine: Any = FakeEngine(clock)
        self.engine = MeasuredEngine(engine, self.metrics, clock)

    def value(self, name: str, **labels: str) -> float:
        text = self.metrics.reply().body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"highwater_serve_{name}" and sample.labels == labels:
                    return float(sample.value)
        raise AssertionError(f"no {name} {labels}")


def test_planning_receipts_streams_and_rows_are_measured() -> None:
    bench = Bench()

    plan = bench.engine.plan("good", None, Asker())
    rows = sum(batch.num_rows for batch in plan.stream())

    assert plan.pinned_bytes == 9
    assert bench.value("planning_duration_seconds_sum") == 0.5
    assert bench.value("receipts_total", state="stalled") == 1
    assert bench.value("queries_total", end="finished") == 1
    assert bench.value("query_duration_seconds_sum") == 6.0
    assert bench.value("streamed_rows_total") == rows == 6


def test_streams_that_fail_and_that_are_left_are_told_apart() -> None:
    bench = Bench()
    with pytest.raises(RequestError):
        list(bench.engine.plan("fail", None, Asker()).stream())
    stream = bench.engine.plan("good", None, Asker()).stream()
    next(stream)
    assert bench.value("queries_running") == 1

    stream.close()

    assert bench.value("queries_total", end="failed") == 1
    assert bench.value("queries_total", end="left") == 1
    assert bench.value("queries_running") == 0


def test_statements_that_cannot_be_planned_are_counted_and_raise_as_before() -> None:
    bench = Bench()

    with pytest.raises(RequestError, match="scripted"):
        bench.engine.plan("bad", None, Asker())

    assert bench.value("planning_failures_total") == 1


def test_the_figures_of_the_tables_are_those_of_now() -> None:
    bench = Bench()

    assert bench.value("lag_seconds", table="trades") == 1.5
    assert bench.value("tail_chunks", table="trades") == 3
    assert bench.value("view_state", table="trades", state="lagging") == 1
    assert bench.value("view_state", table="trades", state="complete") == 0
    assert bench.value("view_state", table="quotes", state="no view") == 1
