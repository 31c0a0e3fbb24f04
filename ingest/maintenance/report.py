"""What a maintenance has done, for people and for programs. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ingest.maintenance.collect import Collected
from ingest.maintenance.maintainer import Compacted

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table. `error`: why it was left alone altogether."""

    table: str
    compaction: Compacted = field(default_factory=Compacted)
    expired_snapshots: int = 0
    collection: Collected = field(default_factory=Collected)
    error: str = ""


def as_json(reports: Sequence[TableReport], *, dry_run: bool) -> dict[str, Any]:
    """The document of `--format json`; its keys are listed in docs/maintenance.md."""
    return {"format": FORMAT, "dry_run": dry_run, "tables": [_table(r) for r in reports]}


def _table(report: TableReport) -> dict[str, Any]:
    if report.error:
        return {"table": report.table, "error": report.error}
    return asdict(report)


def as_text(reports: Sequence[TableReport], *, dry_run: bool) -> str:
    """A few lines for each table."""
    return "\n".join(line for report in reports for line in _lines(report, dry_run)) + "\n"


def _lines(report: TableReport, dry_run: bool) -> list[str]:
    if report.error:
        return [f"{report.table}: {report.error}"]
    done, gone = report.compaction, report.collection
    would = "would be " if dry_run else ""
    if done.refused:
        lines = [f"{report.table}: not compacted: {done.refused}"]
    else:
        lines = [f"{report.table}: {done.data_files} data files, {done.small_files} were small"]
        mib = f"{done.bytes_before / 2**20:.1f} MiB"
        into = "" if dry_run else f" of {done.bytes_after / 2**20:.1f} MiB"
        lines.append(
            f"  {done.replaced_files} files ({done.rows} rows, {mib}) {would}put together into "
            f"{done.groups}{into}"
        )
        if done.is_more_left:
            lines.append("  more is left for another round")
    lines += [f"  problem: {problem}" for problem in done.problems]
    lines.append(f"  {report.expired_snapshots} snapshots {would}expired")
    if gone.refused:
        lines.append(f"  no unneeded files were looked for: {gone.refused}")
    else:
        lines.append(
            f"  {gone.removed} unneeded files ({gone.removed_bytes / 2**20:.1f} MiB) {would}"
            f"removed, {gone.waiting} in their grace, {gone.open} that a commit may still need"
        )
    return lines
