"""What a check found, and what was checked at all. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

KEPT_FINDINGS = 20  # of one check of one table; more are counted only

# Stable ids: scripts may rely on them. docs/verify.md has the same list.
CHECKS = {
    "snapshot.manifests": "the snapshot's manifests can be read",
    "snapshot.counts": "the snapshot's files hold as many rows as its summary says",
    "snapshot.deletes": "no delete files hide rows",
    "files.present": "each file is there, with the size of its manifest entry",
    "files.readable": "each file is Parquet that can be read",
    "files.own": "each file has this table's fields and lies in its location",
    "files.rows": "each file holds the rows that its manifest entry promises",
    "files.unique": "no file is in the snapshot twice",
    "marker.present": "the marker is in the snapshot's ancestry",
    "marker.readable": "each known marker can be read",
    "marker.topic": "the marker names this topic, by name and by id",
    "marker.monotone": "offsets and epochs never go back along the ancestry",
    "marker.copy": "the copy in the table's properties agrees",
    "marker.ahead": "the marker is not beyond the end of the log",
    "marker.behind": "no row is beyond the marker",
    "marker.remembered": "what the marker remembers for the duplicate rule is right",
    "commits.foreign": "other writers' commits neither add nor remove rows",
    "commits.rows": "each commit added as many rows as its marker says",
    "commits.claims": "each file's offsets are inside what its commit claims",
    "commits.order": "offsets are in log order within each file of a commit",
    "commits.counts": "rows, dead letters and duplicates of each commit are those of the log",
    "offsets.once": "no offset is there twice",
    "offsets.complete": "no message of the log is missing",
    "offsets.expected": "nothing is there that the log does not have there",
    "offsets.content": "what is there equals the log's message at its offset",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold, and where. `to_offset` is the first offset behind it."""

    check: str
    table: str
    text: str  # what it means and what to do
    severity: str = "error"
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    file: str | None = None  # relative to the table's location
    snapshot_id: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The stable form; snapshot ids are text, because JSON's numbers lose their last digits."""
        made = asdict(self)
        made["snapshot_id"] = None if self.snapshot_id is None else str(self.snapshot_id)
        return made


@dataclass(slots=True)
class CheckState:
    """How one check of one table went so far."""

    check: str
    table: str
    looked_at: str = ""
    reason: str = ""  # why it, or a part of it, was skipped
    findings: int = 0

    @property
    def outcome(self) -> str:
        """`failed`, `ok`, or `skipped` if nothing could be looked at."""
        if self.findings:
            return "failed"
        return "ok" if self.looked_at else "skipped"

    def as_json(self) -> dict[str, Any]:
        """The stable form."""
        return {
            "check": self.check,
            "table": self.table,
            "outcome": self.outcome,
            "looked_at": self.looked_at,
            "reason": self.reason,
            "findings": self.findings,
        }


@dataclass(slots=True)
class Ledger:
    """The checks and findings of one table and its dead letters; bounded."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _states: dict[tuple[str, str], CheckState] = field(default_factory=dict)

    def looked(self, check: str, table: str, what: str) -> None:
        """The check was made over this."""
        self._state(check, table).looked_at = what

    def skip(self, check: str, table: str, reason: str) -> None:
        """The check, or a part of it, could not be made."""
        self._state(check, table).reason = reason

    def skip_all(self, checks: Iterable[str], table: str, reason: str) -> None:
        """None of these checks could be made."""
        for check in checks:
            self.skip(check, table, reason)

    def add(self, finding: Finding) -> None:
        """It does not hold."""
        state = self._state(finding.check, finding.table)
        state.findings += 1
        if state.findings <= KEPT_FINDINGS:
            self.findings.append(finding)

    def note(self, text: str) -> None:
        """Worth knowing, and no finding."""
        if len(self.notes) < KEPT_FINDINGS:
            self.notes.append(text)

    def states(self) -> list[CheckState]:
        """All checks that were made or skipped, in the order of CHECKS, table by table."""
        order = list(CHECKS)
        return sorted(self._states.values(), key=lambda s: (s.table, order.index(s.check)))

    def total(self) -> int:
        """How many findings, those included that were not kept."""
        return sum(state.findings for state in self._states.values())

    def _state(self, check: str, table: str) -> CheckState:
        if check not in CHECKS:
            raise KeyError(check)
        return self._states.setdefault((check, table), CheckState(check, table))


def runs(offsets: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Ascending offsets as ranges [from, to) of neighbours."""
    start = end = None
    for offset in offsets.tolist():
        if offset != end:
            if start is not None and end is not None:
                yield start, end
            start = offset
        end = offset + 1
    if start is not None and end is not None:
        yield start, end
