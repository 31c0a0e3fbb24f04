"""From Kafka to committed: how fast the sidecar process copies a topic that is already full.

    python -m benchmarks.ingest [--quick]

Real broker; the producer has ended before the sidecar starts. JSON messages of about 400 bytes.
Times are those of the table's own snapshots. `sustained` is measured from the first to the last
commit of a full buffer, so neither the start of the process nor the age of the last few rows is in
it; `overall` has both. Then each partition's offsets are read back from the table: every one of
them must be there, once.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from datafusion import SessionContext

from benchmarks.harness import Report, main, require_equal, rss_bytes
from benchmarks.stack import TRADES, Child, Stack, say
from contract.marker import MARKER_KEY, Marker
from ingest.iceberg_table import open_catalog

if TYPE_CHECKING:
    import argparse

    from pyiceberg.table import Table

_MESSAGES = {False: 9_000_000, True: 1_500_000}
_FLUSH_ROWS = 262_144  # the default
_FEED_S = 900.0
_LIMIT_S = 600.0
_SAMPLE_S = 0.1
_AROUND = 0.05  # memory is the median around a point, this share of the time to either side


@dataclass(frozen=True, slots=True)
class Commit:
    """One snapshot: when, and how many rows there are since."""

    at_s: float
    rows: int
    added: int


@dataclass(slots=True)
class Memory:
    """Samples of a process's resident set, in parallel."""

    at_s: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def around(self, at_s: float, width_s: float) -> float:
        """Median of the samples at most `width_s` away, or the nearest one."""
        near = [b for t, b in zip(self.at_s, self.bytes, strict=True) if abs(t - at_s) <= width_s]
        nearest = min(zip(self.at_s, self.bytes, strict=True), key=lambda s: abs(s[0] - at_s))
        return median(near or [nearest[1]])


@dataclass(frozen=True, slots=True)
class Ingested:
    """One run."""

    messages: int
    sustained_per_s: float
    overall_per_s: float
    first_commit_s: float
    commits: int
    cpu_s: float
    rss_third_bytes: float
    rss_end_bytes: float
    rss_peak_bytes: int
    objects_per_commit: float
    topic_bytes_per_message: float


def body(args: argparse.Namespace, report: Report) -> None:
    """One run."""
    found = measure(_MESSAGES[args.quick], args.seed)
    report.figure("messages", found.messages)
    report.figure("commits", found.commits)
    report.figure("first_commit_after_s", found.first_commit_s)
    report.figure("overall_messages_per_s", found.overall_per_s)
    report.figure("cpu_us_per_message", found.cpu_s / found.messages * 1e6)
    report.figure("rss_after_a_third_mb", found.rss_third_bytes / 1e6)
    report.figure("rss_at_the_end_mb", found.rss_end_bytes / 1e6)
    report.figure("rss_peak_mb", found.rss_peak_bytes / 1e6)
    report.figure("objects_per_commit", found.objects_per_commit)
    report.figure("topic_bytes_per_message", found.topic_bytes_per_message)
    report.at_least("sustained_messages_per_s", found.sustained_per_s, 150_000)
    growth = found.rss_end_bytes / found.rss_third_bytes
    report.at_most("rss_end_over_third_ratio", growth, 1.2)


def measure(wanted: int, seed: int) -> Ingested:
    """Fill, start, wait, check."""
    with Stack("ingest") as stack:
        say(f"producing {wanted:,} messages")
        stack.feed(wanted, 0, seed).wait(_FEED_S)
        ends = stack.ends()
        if sum(ends.values()) != wanted:
            raise RuntimeError(f"the topic holds {sum(ends.values())} messages, not {wanted}")
        say("copying")
        started_s = time.time()
        sidecar = stack.ingest()
        memory = Memory()
        stop = threading.Event()
        sampler = threading.Thread(target=_sample, args=(sidecar, memory, stop), daemon=True)
        sampler.start()
        try:
            _await_all(stack, sidecar, ends)
        finally:
            stop.set()
            sampler.join()
        cpu_s = sidecar.cpu_s()
        sidecar.stop()
        table = open_catalog(stack.settings).load_table(f"public.{TRADES.name}")
        _require_exact(table, ends)
        log_bytes = sum(f.stat().st_size for f in stack.folder.rglob(f"{TRADES.topic}-*/*.log"))
        sizes = {
            "objects_per_commit": _objects(table) / len(table.metadata.snapshots),
            "topic_bytes_per_message": log_bytes / wanted,
        }
        return _result(commits_of(table), memory, started_s, cpu_s, sizes)


def commits_of(table: Table) -> list[Commit]:
    """The snapshots that are still known, oldest first."""
    found = []
    for snapshot in sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0):
        summary = snapshot.summary
        total = int((summary and summary["total-records"]) or 0)
        added = int((summary and summary["added-records"]) or 0)
        found.append(Commit(snapshot.timestamp_ms / 1e3, total, added))
    return found


def sustained(commits: list[Commit], full_rows: int) -> float:
    """Rows a second from the first to the last commit of at least `full_rows`.

    Raises ValueError if there are not three of them.
    """
    full = [c for c in commits if c.added >= full_rows]
    if len(full) < 3:
        raise ValueError(f"{len(full)} full commits are too few: nothing was sustained")
    return (full[-1].rows - full[0].rows) / (full[-1].at_s - full[0].at_s)


def _objects(table: Table) -> int:
    """Files of the table in storage: data, manifests, manifest lists, metadata."""
    folder = Path(table.location().removeprefix("file://"))
    return sum(file.is_file() for file in folder.rglob("*"))


def _result(
    commits: list[Commit],
    memory: Memory,
    started_s: float,
    cpu_s: float,
    sizes: dict[str, float],
) -> Ingested:
    last = commits[-1]
    width_s = _AROUND * (last.at_s - started_s)
    third = next(c for c in commits if c.rows >= last.rows / 3)
    return Ingested(
        messages=last.rows,
        sustained_per_s=sustained(commits, _FLUSH_ROWS),
        overall_per_s=last.rows / (last.at_s - started_s),
        first_commit_s=commits[0].at_s - started_s,
        commits=len(commits),
        cpu_s=cpu_s,
        rss_third_bytes=memory.around(third.at_s, width_s),
        rss_end_bytes=memory.around(last.at_s, width_s),
        rss_peak_bytes=max(memory.bytes),
        **sizes,
    )


def _sample(sidecar: Child, memory: Memory, stop: threading.Event) -> None:
    while not stop.wait(_SAMPLE_S):
        with suppress(OSError):  # it has ended
            memory.bytes.append(rss_bytes(sidecar.pid))
            memory.at_s.append(time.time())


def _await_all(stack: Stack, sidecar: Child, ends: dict[int, int]) -> None:
    until_s = time.monotonic() + _LIMIT_S
    catalog = open_catalog(stack.settings)
    while time.monotonic() < until_s:
        sidecar.check()
        time.sleep(1.0)  # the times come from the snapshots: looking seldom costs no precision
        if not catalog.table_exists(f"public.{TRADES.name}"):
            continue
        snapshot = catalog.load_table(f"public.{TRADES.name}").current_snapshot()
        text = snapshot.summary[MARKER_KEY] if snapshot and snapshot.summary else None
        if text and _reaches(Marker.from_json(text), ends):
            return
    raise RuntimeError(f"not all was committed within {_LIMIT_S:g} s: {sidecar.last_words()}")


def _reaches(marker: Marker, ends: dict[int, int]) -> bool:
    return all(marker.next_offset(p) == end for p, end in ends.items())


def _require_exact(table: Table, ends: dict[int, int]) -> None:
    """End the benchmark unless the table holds every offset once."""
    ctx = SessionContext()
    files = [task.file.file_path for task in table.scan().plan_files()]
    folder = files[0].partition("/data/")[0] + "/data"
    ctx.register_parquet("lake", folder.removeprefix("file://"))
    rows = ctx.sql(
        "select _partition, count(*), min(_offset), max(_offset), count(distinct _offset) "
        "from lake group by _partition order by _partition"
    ).to_arrow_table()
    found = [tuple(row.values()) for row in rows.to_pylist()]
    wanted = [(p, end, 0, end - 1, end) for p, end in sorted(ends.items()) if end]
    require_equal("log and table", wanted, found)


if __name__ == "__main__":
    sys.exit(main("ingest", "From Kafka to committed.", body))
