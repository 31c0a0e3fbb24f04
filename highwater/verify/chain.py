"""The markers along one table's ancestry: readable, of one topic, never going back. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from contract.errors import OperatorError
from contract.marker import FORMAT, MAINTENANCE_KEY, MARKER_KEY, Gap, Marker, is_at_or_after
from highwater.verify.findings import Finding

if TYPE_CHECKING:
    from highwater.verify.facts import Commit, LogFacts, TableFacts
    from highwater.verify.findings import Ledger

_NO_MARKER = (
    "the table holds rows but no marker, so nobody knows which messages are in it: roll back to a "
    "snapshot that has one, or ingest into a new table"
)
_COPY_ONLY = (
    "no snapshot of the ancestry has a marker any more (an overwrite and an expiry have removed "
    "it), only the copy in the properties is left: let the sidecar commit again, which writes "
    "both, and keep other tools from expiring its snapshots"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A commit of the sidecar. `before`: the marker that it went on from, None if not known.

    `is_first`: it has taken over an empty table. `is_copy`: maintenance has carried an older
    marker forward.
    """

    commit: Commit
    after: Marker
    before: Marker | None
    is_first: bool = False
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """The marker that holds, None if there is none; the known claims, oldest first."""

    marker: Marker | None
    claims: tuple[Claim, ...] = ()
    gaps: tuple[Gap, ...] = ()


def read_chain(facts: TableFacts, ledger: Ledger) -> Chain:
    """Check the markers; what holds for the pinned snapshot.

    Raises:
        OperatorError: a marker is of a newer format, so this version cannot check the table.
    """
    marked = _marked(facts, ledger)
    if marked is None:
        return Chain(None)
    marker = marked[0][1] if marked else _from_properties(facts, ledger)
    if marker is None:
        return Chain(None)
    if marked:
        ledger.looked("marker.present", facts.table, f"commit {marker.commit_id}")
        _check_copy(facts, marker, ledger)
    ledger.looked("marker.readable", facts.table, f"{len(marked)} markers")
    _check_monotone(facts.table, marked, ledger)
    claims = _claims(facts, marked)
    return Chain(marker, claims, marker.gaps)


def _marked(facts: TableFacts, ledger: Ledger) -> list[tuple[Commit, Marker]] | None:
    """The commits with a marker, newest first; None if the one that holds is unreadable."""
    found: list[tuple[Commit, Marker]] = []
    for commit in facts.commits:
        text = commit.summary.get(MARKER_KEY)
        if not text:
            continue
        try:
            found.append((commit, parse_marker(text, facts.table)))
        except UnreadableError as error:
            ledger.add(
                Finding(
                    "marker.readable",
                    facts.table,
                    f"the marker of snapshot {commit.snapshot_id} cannot be read ({error}): "
                    f"restore the key {MARKER_KEY!r} of its summary",
                    snapshot_id=commit.snapshot_id,
                )
            )
            if not found:
                return None
    return found


class UnreadableError(ValueError):
    """A text that is no marker."""


def parse_marker(text: str, table: str) -> Marker:
    """The marker of this text. Raises UnreadableError, or OperatorError for a newer format."""
    try:
        raw: Any = json.loads(text)
        stored_format = raw["format"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnreadableError(f"{type(error).__name__}") from error
    if isinstance(stored_format, int) and stored_format > FORMAT:
        raise OperatorError(
            f"table {table} has a marker of format {stored_format}, this version knows {FORMAT}: "
            "check it with the newer Highwater that wrote it"
        )
    try:
        return Marker.from_json(text)
    except OperatorError as error:
        raise UnreadableError(str(error.__cause__)) from error


def _from_properties(facts: TableFacts, ledger: Ledger) -> Marker | None:
    """The copy, where no known snapshot has a marker; that alone does not hold."""
    text, table = facts.properties.get(MARKER_KEY), facts.table
    if text is None:
        if facts.holds_rows:
            _lost(facts, ledger, _NO_MARKER)
        else:
            ledger.skip("marker.present", table, "nothing has been committed yet")
        return None
    _lost(facts, ledger, _COPY_ONLY)
    try:
        return parse_marker(text, table)
    except UnreadableError as error:
        words = f"the copy of the marker in the properties cannot be read ({error})"
        ledger.add(Finding("marker.readable", table, words, snapshot_id=facts.snapshot_id))
        return None


def _lost(facts: TableFacts, ledger: Ledger, text: str) -> None:
    ledger.add(Finding("marker.present", facts.table, text, snapshot_id=facts.snapshot_id))


def _check_copy(facts: TableFacts, marker: Marker, ledger: Ledger) -> None:
    copy = facts.properties.get(MARKER_KEY)
    if copy is None:
        ledger.skip("marker.copy", facts.table, "the properties have no copy")
        return
    ledger.looked("marker.copy", facts.table, f"property {MARKER_KEY}")
    try:
        agrees = parse_marker(copy, facts.table) == marker
    except UnreadableError:
        agrees = False
    if agrees or copy in facts.known_markers:  # of a snapshot that was rolled back
        return
    text = (
        "the copy of the marker in the table's properties is neither that of the snapshot nor of "
        f"any other known one: if the snapshot is right, remove the property {MARKER_KEY}"
    )
    ledger.add(Finding("marker.copy", facts.table, text, snapshot_id=facts.snapshot_id))


def _check_monotone(table: str, marked: list[tuple[Commit, Marker]], ledger: Ledger) -> None:
    ledger.looked("marker.monotone", table, f"{len(marked)} markers")
    for (commit, later), (_, earlier) in pairwise(marked):
        if not is_at_or_after(later.next, earlier.next):
            _back(table, commit, later, earlier, ledger)
        if later.epoch < earlier.epoch:
            text = (
                f"its epoch {later.epoch} is below {earlier.epoch} of the marker before it: a "
                "sidecar that was replaced has committed; stop it and look for doubled rows"
            )
            ledger.add(Finding("marker.monotone", table, text, snapshot_id=commit.snapshot_id))
        if (later.topic, later.topic_id) != (earlier.topic, earlier.topic_id):
            text = (
                f"its marker is of topic {later.topic!r} ({later.topic_id}), the one before it of "
                f"{earlier.topic!r} ({earlier.topic_id}): the offsets of one of them mean other "
                "messages; roll back to before this commit"
            )
            ledger.add(Finding("marker.topic", table, text, snapshot_id=commit.snapshot_id))


def _back(table: str, commit: Commit, later: Marker, earlier: Marker, ledger: Ledger) -> None:
    for partition, offsets in sorted(earlier.next.items()):
        now = later.next.get(partition, (0,) * len(offsets))
        if all(a >= b for a, b in zip(now, offsets, strict=True)):
            continue
        text = (
            f"the next offsets go back from {list(offsets)} to {list(now)}: rows between them are "
            "read and stored again by the next sidecar; roll back to before this commit"
        )
        ledger.add(
            Finding(
                "marker.monotone",
                table,
                text,
                partition=partition,
                from_offset=min(now),
                to_offset=max(offsets),
                snapshot_id=commit.snapshot_id,
            )
        )


def _claims(facts: TableFacts, marked: list[tuple[Commit, Marker]]) -> tuple[Claim, ...]:
    """Oldest first."""
    if not marked:
        return ()
    oldest = facts.commits[-1]
    claims: list[Claim] = []
    before: Marker | None = None
    for commit, marker in reversed(marked):
        first = commit is oldest and commit.number == 1 and not marker.rows
        copied = _is_copy(commit, marker, before)
        claims.append(Claim(commit, marker, before, first, copied))
        before = marker
    return tuple(claims)


def _is_copy(commit: Commit, marker: Marker, before: Marker | None) -> bool:
    """Whether maintenance has carried the marker before it forward, known or not."""
    if before is None:
        return MAINTENANCE_KEY in commit.summary
    return before.commit_id == marker.commit_id


def check_topic(table: str, marker: Marker, log: LogFacts, ledger: Ledger) -> bool:
    """Whether the marker's offsets are offsets of this log."""
    ledger.looked("marker.topic", table, f"topic {log.topic} ({log.topic_id})")
    if marker.topic != log.topic:
        text = (
            f"the table holds topic {marker.topic!r}, its definition names {log.topic!r}: correct "
            "the definition, or take another table name"
        )
    elif marker.topic_id != log.topic_id:
        text = (
            f"the marker is of topic id {marker.topic_id}, topic {log.topic!r} now has "
            f"{log.topic_id}: it was deleted and made again, or the marker is of another table; "
            "its offsets cannot be compared with this log"
        )
    else:
        return True
    ledger.add(Finding("marker.topic", table, text))
    return False


def check_ahead(table: str, marker: Marker, log: LogFacts, ledger: Ledger) -> None:
    """No marker may be beyond what the log has."""
    ledger.looked("marker.ahead", table, f"{len(marker.next)} partitions")
    for partition, by_lane in sorted(marker.next.items()):
        end = log.bounds.get(partition, (0, 0))[1]
        if max(by_lane) > end:
            text = (
                f"the marker says that offsets below {max(by_lane)} were read, the log ends at "
                f"{end}: messages written from now on would never be ingested; roll the table "
                "back, or find out whether the log was truncated"
            )
            ledger.add(
                Finding(
                    "marker.ahead",
                    table,
                    text,
                    partition=partition,
                    from_offset=end,
                    to_offset=max(by_lane),
                )
            )
