"""The commit loop of one table: compare-and-set on its marker, by one writer of one epoch.

Every round loads the head anew and looks for the commit's own id first, so that an outcome that
stayed unknown is settled by what is in the table and by nothing else. Then the marker found there
must be the one that this writer left (same offsets, same topic, no later epoch), and the commit
asserts that very head. Foreign commits in between (a compaction, say) carry no marker and do no
harm: the round is repeated with the files that are already written.

A delayed commit of an earlier round cannot land after a later round did: both assert a head, and
only one of them can be there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, assert_never

from contract.errors import BugError, OperatorError, UnavailableError
from contract.health import NO_HEALTH, STORAGE, set_storage, storage_code
from ingest.ports import (
    NOTHING_WRITTEN,
    CommitOutcome,
    Committed,
    Conflict,
    Failpoint,
    Head,
    IdFactory,
    Table,
    Unavailable,
    Unknown,
    Written,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from contract.health import Code, Health
    from contract.marker import Marker
    from ingest.backoff import Backoff
    from ingest.stop import Stop

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

MakeClaim = Callable[[Head], "Marker"]  # its commit id is filled in


class FencedError(OperatorError):
    """Another sidecar has taken over this table: this one must not write any more."""


@dataclass(frozen=True, slots=True)
class WriterParts:
    """What a `TableWriter` is built from beside its table."""

    ids: IdFactory
    stop: Stop
    backoff: Backoff  # its own: a writer is used by one thread
    failpoint: Failpoint
    health: Health = NO_HEALTH


class TableWriter:
    """The commits of this process to one table. `claim` comes first.

    Any wait ends when `stop` has no time left: then UnavailableError. Failpoints are named
    `<role>.before_write`, `.after_write`, `.before_commit` and `.after_commit`.
    """

    def __init__(self, table: Table, role: str, parts: WriterParts) -> None:
        self.table = table
        self._role = role
        self._ids = parts.ids
        self._stop = parts.stop
        self._backoff = parts.backoff
        self._failpoint = parts.failpoint
        self._health = parts.health
        self._marker: Marker | None = None
        self.failures = 0  # attempts in a row that did not end in a commit

    @property
    def marker(self) -> Marker:
        """What this writer left in the table."""
        if self._marker is None:
            raise BugError(f"table {self.table.name} was written before it was claimed")
        return self._marker

    @property
    def epoch(self) -> int | None:
        """The epoch of this writer; None before its claim."""
        return None if self._marker is None else self._marker.epoch

    def claim(self, make: MakeClaim) -> Marker:
        """Commit the marker that `make` wants on top of the head: from then on this epoch writes.

        `make` is asked again for every head. What it raises ends the claim.
        """
        commit_id = self._ids()
        self._marker = self._land(
            NOTHING_WRITTEN, commit_id, lambda head: replace(make(head), commit_id=commit_id)
        )
        return self._marker

    def write(self, rows: pa.Table) -> Written:
        """Write files for these rows; tried until it works."""
        self._failpoint(f"{self._role}.before_write")
        written = self._until_available(lambda: self.table.write(rows))
        self._health.clear(*STORAGE)
        self._failpoint(f"{self._role}.after_write")
        return written

    def commit(self, written: Written, marker: Marker) -> Marker:
        """Commit these files with this marker, whose commit id is filled in.

        Raises FencedError if a later epoch stands in the table, OperatorError if its offsets or
        topic are no longer those that this writer left.
        """
        base = self.marker
        commit_id = self._ids()

        def on_top_of(head: Head) -> Marker:
            self._require(head, base)
            return replace(marker, commit_id=commit_id, schema_id=head.schema_id)

        self._marker = self._land(written, commit_id, on_top_of)
        return self._marker

    def check(self) -> None:
        """See whether the table still is as this writer left it; raises as `commit` does, and
        UnavailableError if the table does not answer.
        """
        self._require(self.table.head(), self.marker)

    def _land(self, written: Written, commit_id: str, make: MakeClaim) -> Marker:
        self._backoff.reset()
        while (landed := self._attempt(written, commit_id, make)) is None:
            pass
        self._health.clear(*STORAGE)
        self.failures = 0
        return landed

    def _attempt(self, written: Written, commit_id: str, make: MakeClaim) -> Marker | None:
        """One round; None, after a wait, if there must be another one."""
        head = self._until_available(self.table.head)
        if head.marker is not None and head.marker.commit_id == commit_id:
            return head.marker
        marker = make(head)
        self._failpoint(f"{self._role}.before_commit")
        outcome = self.table.commit(written, marker, head)
        self._failpoint(f"{self._role}.after_commit")
        if isinstance(outcome, Committed):
            return marker
        if not isinstance(outcome, Conflict):
            self._note(outcome.code, _reason(outcome))
        self._wait(_reason(outcome))
        return None

    def _require(self, head: Head, base: Marker) -> None:
        name, found = self.table.name, head.marker
        if found is None:
            raise OperatorError(
                f"table {name} has lost its marker: it was dropped or replaced while this sidecar "
                "ran; restore it, or start again with an empty table"
            )
        if found.epoch > base.epoch:
            raise FencedError(
                f"another sidecar took over table {name} (its epoch {found.epoch}, ours "
                f"{base.epoch}): this one stops and must not be started beside it"
            )
        if found.topic_id != base.topic_id or dict(found.next) != dict(base.next):
            raise OperatorError(
                f"the offsets of table {name} were changed from outside (rolled back?): start the "
                "sidecar again, it goes on from what the table holds"
            )

    def _until_available(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except UnavailableError as error:
                self._note(storage_code(error), str(error))
                self._wait(str(error))

    def _note(self, code: Code, reason: str) -> None:
        set_storage(self._health, code, f"table {self.table.name}: {reason}; it is tried again")

    def _wait(self, reason: str) -> None:
        delay_s = self._backoff.next_s()
        self.failures += 1
        _LOG.warning("table %s: %s; next attempt in %.2f s", self.table.name, reason, delay_s)
        if not self._stop.wait(delay_s):
            raise UnavailableError(
                f"table {self.table.name}: no time is left for another attempt ({reason}); what "
                "was not committed is read again at the next start"
            )


def _reason(outcome: CommitOutcome) -> str:
    match outcome:
        case Conflict():
            return "another commit came first"
        case Unavailable(reason):
            return f"not committed: {reason}"
        case Unknown(reason):
            return f"it is unknown whether the commit landed: {reason}"
        case Committed():
            raise BugError("a commit that landed needs no other attempt")
        case _:
            assert_never(outcome)
