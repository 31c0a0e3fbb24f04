"""What a commit takes as a table grows old, with its maintenance and without.

    python -m benchmarks.maintenance [--quick] [--commits 5000]

Small flushes one after the other, as fast as they go, by the sidecar's own writer on its committer
thread; with maintenance, expiry comes every 50 commits and the scheduler of the sidecar works
beside them: rounds each half second, unneeded files after 5 s. Latencies are medians of the 50
commits up to the one that is named; the largest is over all commits. At the end every row must be
there once.
"""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.harness import Report, main, require_equal
from benchmarks.stack import say
from contract.clock import SystemClock
from contract.decode import Decoder
from contract.definition import load_definition
from contract.log import RawBatch
from contract.marker import Marker
from ingest.backoff import Backoff
from ingest.commit import TableWriter, WriterParts
from ingest.config import IngestSettings
from ingest.executor import DaemonWorker
from ingest.feeds.synthetic import Shape, SyntheticFeed
from ingest.iceberg_schema import rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.maintenance.assembly import a_scheduler
from ingest.ports import no_failpoint
from ingest.stop import Stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_ROWS = 200  # of a flush
_WINDOW = 50
_EXPIRE_EVERY = 50
_KEEP = 20
_SAY_EVERY = 250
_TRADES = load_definition("trades")


@dataclass
class Table:
    """A table of its own in a directory of its own."""

    folder: Path
    times_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)  # of the committer's thread
    files: list[int] = field(default_factory=list)

    def run(self, commits: int, *, maintained: bool) -> None:
        self.folder.mkdir()
        settings = IngestSettings(
            data_dir=self.folder,
            maintenance_interval_s=0.5,
            orphan_interval_s=5.0,
            orphan_grace_s=5.0,
            compact_within_s=10.0,
        )
        with closing(open_catalog(settings)) as catalog:
            table = IcebergTable(catalog, "public", rows_shape(_TRADES), _an_id)
            table.ensure()
            clock = SystemClock()
            parts = WriterParts(_an_id, Stop(clock, 30.0), _backoff(), no_failpoint)
            writer = TableWriter(table, "rows", parts)
            committer = DaemonWorker("committer")
            writer.claim(lambda head: replace(_MARKER, schema_id=head.schema_id))
            with _maintenance(settings, writer, committer) if maintained else _nothing():
                self._commit(commits, table, writer, committer, expires=maintained)
            committer.close(10)

    def _commit(
        self,
        commits: int,
        table: IcebergTable,
        writer: TableWriter,
        committer: DaemonWorker,
        *,
        expires: bool,
    ) -> None:
        rows = _some_rows()
        for number in range(commits):
            flush = _at(rows, number * _ROWS)
            begun_s = time.perf_counter()
            self.cpu_s.append(committer.submit(partial(_flush, writer, flush)).result())
            self.times_s.append(time.perf_counter() - begun_s)
            if expires and number % _EXPIRE_EVERY == _EXPIRE_EVERY - 1:
                committer.submit(lambda: table.expire(_KEEP)).result()
            if number % _SAY_EVERY == _SAY_EVERY - 1:
                taken = f"{self.latency_ms(number + 1):.1f} ms, {self.cpu_ms(number + 1):.1f} of it"
                say(f"{number + 1} commits; the last {_WINDOW} took {taken} on the processor")
        found = table.head().handle.scan(selected_fields=("_offset",)).to_arrow()
        offsets = np.sort(found.column("_offset").to_numpy())
        require_equal("offsets", list(range(commits * _ROWS)), offsets.tolist())
        self.files.append(len(list(table.head().handle.scan().plan_files())))

    def latency_ms(self, commit: int) -> float:
        """The median up to that commit; the first ones warm up."""
        return _window_ms(self.times_s, commit)

    def cpu_ms(self, commit: int) -> float:
        """The same of the processor's time: it says more than the clock on a busy machine."""
        return _window_ms(self.cpu_s, commit)


_MARKER = Marker("trades", "t", 1, "c0", {0: (0, 0, 0)}, {}, 0, 0, 0, 0, 0, _TRADES.rules_digest)


def body(args: argparse.Namespace, report: Report) -> None:
    """Both, one after the other."""
    commits = args.commits or (300 if args.quick else 5_000)
    without = min(commits, 150 if args.quick else 600)
    with tempfile.TemporaryDirectory() as folder:
        kept, bare = Table(Path(folder) / "on"), Table(Path(folder) / "off")
        kept.run(commits, maintained=True)
        for commit in sorted({10, min(1_000, commits), commits}):
            report.figure(f"commit_{commit}_ms", kept.latency_ms(commit))
            report.figure(f"commit_{commit}_cpu_ms", kept.cpu_ms(commit))
        report.figure("commit_largest_ms", max(kept.times_s) * 1e3)
        report.figure("data_files", kept.files[-1])
        stored = [p for p in (Path(folder) / "on").rglob("*") if p.is_file()]
        report.figure("files_in_storage", len(stored))
        last_cpu, first_cpu = kept.cpu_ms(commits), kept.cpu_ms(10)
        report.at_most("last_over_first_cpu_ratio", last_cpu / first_cpu, 2.0)
        report.at_most("last_over_first_ratio", kept.latency_ms(commits) / kept.latency_ms(10), 2.0)
        bare.run(without, maintained=False)
        for commit in sorted({10, without}):
            report.figure(f"commit_{commit}_unmaintained_ms", bare.latency_ms(commit))
            report.figure(f"commit_{commit}_unmaintained_cpu_ms", bare.cpu_ms(commit))
        report.figure("data_files_unmaintained", bare.files[-1])
        stored = [p for p in (Path(folder) / "off").rglob("*") if p.is_file()]
        report.figure("files_in_storage_unmaintained", len(stored))


@contextmanager
def _maintenance(
    settings: IngestSettings, writer: TableWriter, committer: DaemonWorker
) -> Iterator[None]:
    with closing(open_catalog(settings)) as catalog:
        scheduler = a_scheduler(
            settings,
            catalog,
            [(rows_shape(_TRADES), writer)],
            committer,
            SystemClock(),
            _an_id,
            _backoff,
            no_failpoint,
            lambda: True,
        )
        scheduler.start()
        yield
        scheduler.close(30)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _window_ms(times_s: list[float], commit: int) -> float:
    return median(times_s[max(10, commit - _WINDOW) : max(commit, 10 + _WINDOW)]) * 1e3


def _flush(writer: TableWriter, rows: pa.Table) -> float:
    """Commit them; the thread's processor time."""
    begun_s = time.thread_time()
    written = writer.write(rows)
    end = int(rows.column("_offset")[-1].as_py()) + 1
    writer.commit(written, replace(writer.marker, next={0: (end,) * 3}, rows=rows.num_rows))
    return time.thread_time() - begun_s


def _some_rows() -> pa.Table:
    feed = SyntheticFeed(Shape(), Random(1), 1)
    values: list[bytes | None] = [value for _, value in feed.take(_ROWS, 0)]
    count = len(values)
    raw = RawBatch([0] * count, list(range(count)), [0] * count, [None] * count, values)
    rows = Decoder(_TRADES).decode(raw).rows
    require_equal("rows that were decoded", _ROWS, rows.num_rows)
    day = rows.column(_TRADES.event_time)[0]
    fixed = pa.array([day.as_py()] * count, day.type)  # one day, one file
    at = rows.schema.get_field_index(_TRADES.event_time)
    return pa.Table.from_batches([rows]).set_column(at, rows.schema.field(at), fixed)


def _at(rows: pa.Table, offset: int) -> pa.Table:
    at = rows.schema.get_field_index("_offset")
    offsets = pa.array(np.arange(offset, offset + rows.num_rows))
    return rows.set_column(at, rows.schema.field(at), offsets)


def _an_id() -> str:
    return uuid.uuid4().hex


def _backoff() -> Backoff:
    return Backoff(Random(1), 0.01, 0.5)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--commits", type=int, default=0, help="with maintenance; 0: 5,000")


if __name__ == "__main__":
    sys.exit(main("maintenance", "Commits to a table that grows old.", body, options=_options))
