"""The report as text for people and as JSON for programs. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from highwater.output import aligned
from highwater.verify.findings import CHECKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.marker import Marker
    from highwater.verify.audit import TableReport
    from highwater.verify.facts import RangeReport

FORMAT = 1
OK, FAILED, UNCHECKED = "ok", "failed", "unchecked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One table's report, or the reason why there is none."""

    table: str
    report: TableReport | None = None
    reason: str = ""

    @property
    def word(self) -> str:
        """`ok`, `failed` or `unchecked`."""
        if self.report is None:
            return UNCHECKED
        return FAILED if self.report.ledger.total() else OK


def overall(outcomes: Sequence[Outcome]) -> str:
    """A finding is worth more than a table that could not be checked."""
    words = {outcome.word for outcome in outcomes}
    return next((word for word in (FAILED, UNCHECKED) if word in words), OK)


def as_json(outcomes: Sequence[Outcome]) -> str:
    """One object; docs/verify.md names its keys."""
    tables = [_table_json(outcome) for outcome in outcomes]
    made = {"format": FORMAT, "outcome": overall(outcomes), "tables": tables}
    return json.dumps(made, indent=2) + "\n"


def _table_json(outcome: Outcome) -> dict[str, Any]:
    report = outcome.report
    made: dict[str, Any] = {
        "table": outcome.table,
        "outcome": outcome.word,
        "reason": outcome.reason,
    }
    if report is None:
        return made
    ledger = report.ledger
    return {
        **made,
        "snapshot_id": _text(report.snapshot_id),
        "dead_letters_snapshot_id": _text(report.dead_snapshot_id),
        "marker": _marker_json(report.marker),
        "ranges": [asdict(r) for r in report.ranges],
        "checks": [state.as_json() for state in ledger.states()],
        "findings_total": ledger.total(),
        "findings": [finding.as_json() for finding in ledger.findings],
        "notes": ledger.notes,
    }


def _marker_json(marker: Marker | None) -> dict[str, Any] | None:
    if marker is None:
        return None
    return {
        "commit_id": marker.commit_id,
        "topic": marker.topic,
        "topic_id": marker.topic_id,
        "epoch": marker.epoch,
        "next": {str(p): list(offsets) for p, offsets in sorted(marker.next.items())},
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Per table: the checks, the offsets, the findings, one last line."""
    return "\n".join(_table_text(outcome) for outcome in outcomes)


def _table_text(outcome: Outcome) -> str:
    report = outcome.report
    if report is None:
        return f"{outcome.table}: could not be checked: {outcome.reason}\n"
    ledger = report.ledger
    parts = [
        f"{outcome.table} at snapshot {report.snapshot_id}, dead letters at "
        f"{report.dead_snapshot_id}\n",
        _checks(report),
    ]
    if report.ranges:
        parts.append(_ranges(report.ranges))
    reasons = [s for s in ledger.states() if s.reason]
    if reasons:
        lines = [f"  {s.check} ({s.table}): {s.reason}" for s in reasons]
        parts.append("\n".join(["Not or not fully checked", *lines]) + "\n")
    if ledger.notes:
        parts.append("\n".join(["Notes", *(f"  {note}" for note in ledger.notes)]) + "\n")
    parts.append(_findings(report))
    return "\n".join(parts)


def _checks(report: TableReport) -> str:
    states = report.ledger.states()
    table = pa.table(
        {
            "table": [s.table for s in states],
            "check": [CHECKS[s.check] for s in states],
            "looked at": [s.looked_at for s in states],
            "outcome": [f"{s.outcome} ({s.findings})" if s.findings else s.outcome for s in states],
        }
    )
    return aligned(table)


def _ranges(ranges: Sequence[RangeReport]) -> str:
    table = pa.table(
        {
            "partition": [r.partition for r in ranges],
            "by structure": [_range(r.from_offset, r.log_from) for r in ranges],
            "against the log": [_range(r.log_from, r.to_offset) for r in ranges],
            "rows": [r.structure_rows + r.log_rows for r in ranges],
            "dead letters": [r.dead_letters for r in ranges],
            "duplicates": [r.duplicates for r in ranges],
            "holes": [r.holes for r in ranges],
            "not judged": [r.unjudged for r in ranges],
        }
    )
    return aligned(table)


def _range(start: int, end: int) -> str:
    return f"[{start}, {end})" if start < end else ""


def _findings(report: TableReport) -> str:
    ledger = report.ledger
    if not ledger.total():
        return "Everything that was checked holds.\n"
    lines = []
    for finding in ledger.findings:
        place = [finding.table]
        if finding.partition is not None:
            place.append(f"partition {finding.partition}")
        if finding.file is not None:
            place.append(f"file {finding.file}")
        if finding.snapshot_id is not None:
            place.append(f"snapshot {finding.snapshot_id}")
        lines.append(f"  {finding.check}: {', '.join(place)}: {finding.text}")
    left = ledger.total() - len(ledger.findings)
    more = [f"  and {left} more like these"] if left else []
    return "\n".join([f"Findings: {ledger.total()}", *lines, *more]) + "\n"
