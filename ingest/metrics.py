"""What the sidecar counts and measures, in the form that Prometheus scrapes: `/metrics`.

Labels are tables, lanes, levels, signals and kinds: sets that the code or the settings bound. No
symbol, id, topic offset or text of a message is ever one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from contract.health_server import Reply
from contract.table import LANES

if TYPE_CHECKING:
    from ingest.admission import Admission
    from ingest.breaker import Decision, Readings
    from ingest.flush import FlushReport
    from ingest.patience import Patience

_COMMIT_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class Metrics:
    """All instruments of one process; `of` gives those of a table."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, doc: str, *labels: str) -> Counter:
            return Counter(f"highwater_ingest_{name}", doc, ("table", *labels), registry=registry)

        def gauge(name: str, doc: str, *labels: str) -> Gauge:
            return Gauge(f"highwater_ingest_{name}", doc, ("table", *labels), registry=registry)

        self.commits = counter("commits", "Commits with rows or positions of the log")
        self.rows = counter("committed_rows", "Rows committed")
        self.bytes = counter("committed_bytes", "Bytes of files committed")
        self.files = counter("committed_files", "Files committed")
        self.duplicates = counter("duplicates", "Rows dropped as duplicates")
        self.dead_letters = counter("dead_letters", "Messages that were no rows", "kind")
        self.duration = Histogram(
            "highwater_ingest_commit_duration_seconds",
            "Time from a flush to the end of its commit",
            ("table",),
            buckets=_COMMIT_S,
            registry=registry,
        )
        self.level = gauge("level", "Level of the breaker: 0 NORMAL to 4 CRITICAL")
        self.transitions = counter(
            "level_transitions", "Changes of the level", "from", "to", "signal"
        )
        self.signals = gauge(
            "signal", "What the breaker goes by, in the signal's own unit", "signal"
        )
        self.behind = gauge(
            "lane_behind_messages", "Messages between a lane and the live reader", "lane"
        )
        self.behind_s = gauge(
            "lane_behind_seconds", "For how long a lane has been behind; 0 if it is not", "lane"
        )
        self.waiting_rows = gauge(
            "lane_waiting_rows", "Rows that this process has read and left for later", "lane"
        )
        self.waiting_bytes = gauge("lane_waiting_bytes", "The same in bytes of memory", "lane")
        self.buffered_rows = gauge("buffered_rows", "Rows in memory, those being committed too")
        self.buffered_bytes = gauge("buffered_bytes", "The same in bytes")
        self.committed_at = gauge("last_commit_timestamp_seconds", "When the last commit ended")

    def of(self, table: str) -> TableMetrics:
        """The instruments of that table."""
        return TableMetrics(self, table)

    def reply(self) -> Reply:
        """What `/metrics` answers."""
        return Reply(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.registry))


class TableMetrics:
    """Used by one pipeline's thread."""

    def __init__(self, metrics: Metrics, table: str) -> None:
        self._all = metrics
        self._table = table
        metrics.level.labels(table).set(0)

    def committed(self, report: FlushReport, at_s: float) -> None:
        """A flush is in the table."""
        every, table, marker = self._all, self._table, report.marker
        every.commits.labels(table).inc()
        every.rows.labels(table).inc(report.rows)
        every.bytes.labels(table).inc(report.size_bytes)
        every.files.labels(table).inc(report.files)
        every.duplicates.labels(table).inc(report.duplicates)
        every.dead_letters.labels(table, "tombstone").inc(marker.tombstones)
        every.dead_letters.labels(table, "malformed").inc(report.dead_letters - marker.tombstones)
        every.duration.labels(table).observe(report.duration_s)
        every.committed_at.labels(table).set(at_s)

    def decided(self, decision: Decision) -> None:
        """The level has changed."""
        names = (decision.before.name, decision.after.name, decision.signal.value)
        self._all.transitions.labels(self._table, *names).inc()

    def weighed(self, readings: Readings, level: int) -> None:
        """The breaker has looked."""
        self._all.level.labels(self._table).set(level)
        for signal, value in readings.items():
            self._all.signals.labels(self._table, signal.value).set(value)

    def patience(self, patience: Patience, now_s: float) -> None:
        """For how long lanes have been behind."""
        for lane in LANES:
            seconds = patience.behind_s(lane, now_s)
            self._all.behind_s.labels(self._table, lane.name).set(seconds)

    def show(self, admission: Admission, rows: int, size_bytes: int) -> None:
        """Where the lanes stand, and what is in memory."""
        every, table, behind = self._all, self._table, admission.behind_messages()
        every.buffered_rows.labels(table).set(rows)
        every.buffered_bytes.labels(table).set(size_bytes)
        for lane in LANES:
            every.behind.labels(table, lane.name).set(behind[lane])
            every.waiting_rows.labels(table, lane.name).set(admission.waiting_rows[lane])
            every.waiting_bytes.labels(table, lane.name).set(admission.waiting_bytes[lane])
