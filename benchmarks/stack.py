"""The real parts as processes for one benchmark: broker, feed, sidecar, server.

All on free loopback ports, in a directory of its own, stopped by their ids at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, TopicPartition

from contract.clock import SystemClock
from contract.definition import load_definition
from contract.errors import HighwaterError
from contract.settings import CommonSettings
from highwater.sql import connect
from ingest.backoff import Backoff
from ingest.broker import EmbeddedBroker
from ingest.commit import TableWriter, WriterParts
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.kafka.ports import HOST, free_port
from ingest.kafka_log import open_log
from ingest.ports import no_failpoint
from ingest.start import LogState, claim_dead, claim_rows
from ingest.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".highwater"
BENCH = DATA / "bench"
TRADES = load_definition("trades")
PARTITIONS = 4

_STOP_S = 60.0
_POLL_S = 0.05
_ASK_S = 600.0
_LAST_BYTES = 2_000


class Child:
    """A process of ours with a log file; `pid` is the id of the Python process itself."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._log = log
        self.started_s = time.monotonic()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def check(self) -> None:
        """Raise RuntimeError with the end of its log if it is gone."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._log.stem} ended by itself: {self.last_words()}")

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; RuntimeError unless it ended well."""
        if self._process.wait(timeout_s):
            raise RuntimeError(f"{self._log.stem} failed: {self.last_words()}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-_LAST_BYTES:].decode(errors="replace")

    def cpu_s(self) -> float:
        """Processor time that it used so far; 0 if it is gone."""
        return cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Processor time that a process used so far; 0 if it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Stack:
    """A broker with an empty topic, and whatever is started beside it."""

    def __init__(self, name: str) -> None:
        BENCH.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BENCH))
        self.clock = SystemClock()
        self.port = free_port()
        self.uri = f"grpc://{HOST}:{self.port}"
        self._children: list[Child] = []
        self._broker = EmbeddedBroker(
            self.folder, self.clock, jars_dir=DATA / "kafka" / "jars", progress=say
        )

    def __enter__(self) -> Self:
        try:
            self._broker.start()
            self._broker.create_topic(TRADES.topic, PARTITIONS)
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in reversed(self._children):
            child.stop()
        self._clean()

    @property
    def kafka(self) -> str:
        """Address of the broker."""
        return self._broker.bootstrap

    @property
    def settings(self) -> CommonSettings:
        """What the processes agree on."""
        return CommonSettings(data_dir=self.folder, kafka=self.kafka)

    def start(self, name: str, argv: Sequence[str]) -> Child:
        """Start `python <argv>`."""
        child = Child(argv, self.folder / f"{name}.log")
        self._children.append(child)
        return child

    def feed(self, count: int, rate: float, seed: int) -> Child:
        """`highwater feed synthetic`; rate 0 is as fast as it goes."""
        limits = ["--count", str(count), "--rate", f"{rate:g}", "--seed", str(seed)]
        limits += ["--flush-timeout-s", "600", "--delivery-timeout-s", "600"]
        return self.start(
            "feed", ["-m", "highwater", "feed", "synthetic", "--kafka", self.kafka, *limits]
        )

    def ingest(self, *flags: str) -> Child:
        """`highwater ingest`."""
        return self.start("ingest", ["-m", "highwater", "ingest", *self._shared(), *flags])

    def serve(self, *flags: str) -> Child:
        """`highwater serve`."""
        argv = [*self._shared(), "--port", str(self.port), *flags]
        return self.start("serve", ["-m", "highwater", "serve", *argv])

    def make_tables(self) -> None:
        """The empty tables, claimed from the log's beginning, for benchmarks without a sidecar."""
        catalog = open_catalog(self.settings)
        parts = WriterParts(
            ids=lambda: uuid.uuid4().hex,
            stop=Stop(self.clock, _STOP_S),
            backoff=Backoff(Random(1), 0.05, 1.0),
            failpoint=no_failpoint,
        )
        rows, dead = (
            IcebergTable(catalog, "public", shape, parts.ids)
            for shape in (rows_shape(TRADES), dead_shape(TRADES))
        )
        for table in (rows, dead):
            table.ensure()
        log, _ = open_log(self.kafka, TRADES.topic, "highwater-bench-claim")
        bounds = {p: log.bounds(p) for p in log.partitions()}
        state = LogState(TRADES.topic, log.topic_id(), bounds)
        log.close()
        marker = TableWriter(rows, "rows", parts).claim(
            lambda head: claim_rows(head, rows.name, TRADES, state, 0, False, 0)
        )
        TableWriter(dead, "dead", parts).claim(lambda head: claim_dead(head, dead.name, marker))
        catalog.close()

    def ends(self) -> dict[int, int]:
        """The topic's ends: messages per partition, as nothing was ever deleted."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "highwater-bench"})
        try:
            return {
                p: consumer.get_watermark_offsets(TopicPartition(TRADES.topic, p), timeout=10)[1]
                for p in range(PARTITIONS)
            }
        finally:
            consumer.close()

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """An ADBC connection to the server."""
        with connect(self.uri, _ASK_S) as connection:
            yield connection

    def ready(self, child: Child, sql: str, good: Callable[[Any], bool], limit_s: float) -> float:
        """Ask until the first value of the answer is good; seconds since the process started."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            child.check()
            with contextlib.suppress(HighwaterError), self.connected() as connection:
                while time.monotonic() < until_s:
                    if good(value_of(connection, sql)):
                        return time.monotonic() - child.started_s
                    time.sleep(_POLL_S)
            time.sleep(_POLL_S)
        raise RuntimeError(f"no good answer within {limit_s:g} s: {child.last_words()}")

    def _shared(self) -> list[str]:
        own = ["--data-dir", str(self.folder), "--health-port", "0"]
        return [*own, "--kafka", self.kafka]

    def _clean(self) -> None:
        self._broker.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def value_of(connection: Any, sql: str) -> Any:
    """The first value of an answer."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def say(text: str) -> None:
    """A line of progress; standard output is for the result."""
    print(f"  {text}", file=sys.stderr, flush=True)
