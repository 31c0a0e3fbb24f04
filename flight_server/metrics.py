"""What the server counts and measures, in the form that Prometheus scrapes: `/metrics`.

Statements are measured around the engine, so nothing in it knows of this. Figures of the tables are
those of `/readyz`, read when somebody asks. Labels are tables, states and ends: bounded sets; no
text of a statement, user or symbol is ever one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from contract.health_server import Reply
from flight_server.ports import UNWATCHED
from flight_server.view import State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.cut.request import CutRequest
    from flight_server.ports import Asker, Engine, Pinned, Plan, TableInfo, Watch
    from flight_server.security.identity import Identity

_PLAN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_QUERY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATES = (*(state.value for state in State), "no view")
_FIGURES = {
    "lag_messages": ("lag_messages", "Messages between the cut and the log's end"),
    "lag_s": ("lag_seconds", "Age of the newest message of the cut, if there are more"),
    "tail_rows": ("tail_rows", "Rows that the tail adds to the lake"),
    "tail_bytes": ("tail_bytes", "Bytes of the tail's files"),
    "tail_chunks": ("tail_chunks", "Pieces of the tail, one a lane"),
}

Document = Mapping[str, Any]  # what `/readyz` answers


class Metrics:
    """All instruments of one server."""

    def __init__(self, document: Callable[[], Document]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Tables(document))
        name = "highwater_serve"
        self.planning = Histogram(
            f"{name}_planning_duration_seconds",
            "Time to pin a cut and plan a statement over it",
            buckets=_PLAN_S,
            registry=registry,
        )
        self.refused = Counter(
            f"{name}_planning_failures", "Statements that could not be planned", registry=registry
        )
        self.receipts = Counter(
            f"{name}_receipts", "Plans by the state in their receipt", ["state"], registry=registry
        )
        self.running = Gauge(
            f"{name}_queries_running", "Streams that are under way", registry=registry
        )
        self.queries = Counter(
            f"{name}_queries", "Streams by how they ended", ["end"], registry=registry
        )
        self.duration = Histogram(
            f"{name}_query_duration_seconds",
            "Time from a stream's first batch being asked for to its end",
            buckets=_QUERY_S,
            registry=registry,
        )
        self.rows = Counter(f"{name}_streamed_rows", "Rows of all streams", registry=registry)

    def reply(self) -> Reply:
        """What `/metrics` answers."""
        return Reply(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.registry))


class _Tables(Collector):
    """The figures of the tables as they are when they are asked for."""

    def __init__(self, document: Callable[[], Document]) -> None:
        self._document = document

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: a registration must not ask for the document."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family for each figure, and the state of each table as 0 and 1."""
        tables = self._document()["tables"]
        for key, (name, doc) in _FIGURES.items():
            family = GaugeMetricFamily(f"highwater_serve_{name}", doc, labels=["table"])
            for table, figures in tables.items():
                if (value := figures.get(key)) is not None:
                    family.add_metric([table], value)
            yield family
        states = GaugeMetricFamily(
            "highwater_serve_view_state",
            "Whether the table is in this state",
            labels=["table", "state"],
        )
        for table, figures in tables.items():
            for state in _STATES:
                states.add_metric([table, state], float(figures.get("state") == state))
        yield states


class MeasuredEngine:
    """`flight_server.ports.Engine`: another one, with what it does measured."""

    def __init__(self, engine: Engine, metrics: Metrics, clock: Clock) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock

    def pin(
        self,
        request: CutRequest | None,
        sql: str | None,
        asker: Asker,
        given_up: Callable[[], bool],
    ) -> Pinned:
        """See `Engine`, as for the other methods."""
        return self._engine.pin(request, sql, asker, given_up)

    def plan(self, sql: str, parameters: Mapping[str, pa.Scalar] | None, asker: Asker) -> Plan:
        """See `Engine`."""
        return self._planned(lambda: self._engine.plan(sql, parameters, asker))

    def plan_rows(self, sql: str, rows: Sequence[Mapping[str, pa.Scalar]], asker: Asker) -> Plan:
        """See `Engine`."""
        return self._planned(lambda: self._engine.plan_rows(sql, rows, asker))

    def parameters(self, sql: str, asker: Asker) -> pa.Schema:
        """See `Engine`."""
        return self._engine.parameters(sql, asker)

    def tables(self, identity: Identity) -> Sequence[TableInfo]:
        """See `Engine`."""
        return self._engine.tables(identity)

    def _planned(self, plan: Callable[[], Plan]) -> Plan:
        start_s = self._clock.monotonic_s()
        try:
            planned = plan()
        except Exception:
            self._metrics.refused.inc()
            raise
        self._metrics.planning.observe(self._clock.monotonic_s() - start_s)
        return _MeasuredPlan(planned, self._metrics, self._clock)


class _MeasuredPlan:
    """`flight_server.ports.Plan`."""

    def __init__(self, plan: Plan, metrics: Metrics, clock: Clock) -> None:
        self._plan = plan
        self._metrics = metrics
        self._clock = clock
        self.schema = plan.schema
        self.receipt = plan.receipt
        self.pinned_bytes = plan.pinned_bytes
        metrics.receipts.labels(json.loads(self.receipt)["state"]).inc()

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        """See `Plan`."""
        metrics, start_s, end = self._metrics, self._clock.monotonic_s(), "failed"
        metrics.running.inc()
        batches = self._plan.stream(watch)
        try:
            for batch in batches:
                metrics.rows.inc(batch.num_rows)
                yield batch
            end = "finished"
        except GeneratorExit:
            end = "left"
            raise
        finally:
            batches.close()
            metrics.running.dec()
            metrics.queries.labels(end).inc()
            metrics.duration.observe(self._clock.monotonic_s() - start_s)
