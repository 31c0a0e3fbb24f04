"""A compaction's way into the table: files for files, with the marker of the head it stands on.

It adds and loses no row and no offset, so it needs no place among the flushes; what it needs is
that every file it replaces is still live. The commit asserts the head that was loaded for it: if
another commit comes first, the head is loaded anew, and the same files are committed on top of it
as long as those they replace are all there. Whoever is halted on the way, and goes on when others
have given its files up, asserts a head that is no longer there (see `ingest.maintenance.orphans`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from contract.errors import CancelledError, OperatorError, UnavailableError
from contract.marker import MAINTENANCE_KEY, MARKER_KEY
from ingest.commit import FencedError
from ingest.ports import CommitOutcome, Committed, Conflict, Head, no_failpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from contract.clock import Clock
    from contract.marker import Marker
    from ingest.backoff import Backoff
    from ingest.ports import Failpoint


@dataclass(frozen=True, slots=True)
class Swap:
    """Files that are complete in storage, and those whose rows they hold. `begun_s`: when the
    first of them was begun, in wall time. The files belong to the adapter.
    """

    swap_id: str
    begun_s: float
    replaced: tuple[Any, ...] = ()
    added: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """What it stands on, a replaced file as a rule, is not in the head any more: it is given up."""


class SwapTable(Protocol):
    """What a swap needs of its table. Raises as `ingest.ports.Table` does."""

    name: str

    def head(self) -> Head:
        """The newest snapshot, loaded now."""
        ...

    def holds(self, head: Head, swap_id: str) -> bool:
        """Whether that swap is among the known ancestors of the head."""
        ...

    def swap(self, swap: Swap, marker: Marker, expected: Head) -> CommitOutcome | Gone:
        """Commit it with this marker, iff the head is `expected` and holds all replaced files."""
        ...


def summary_of(swap_id: str, marker: Marker) -> Mapping[str, str]:
    """What the snapshot of a swap says."""
    note = json.dumps({"kind": "compaction", "id": swap_id}, separators=(",", ":"))
    return {MARKER_KEY: marker.to_json(), MAINTENANCE_KEY: note}


def is_swap(summary: Mapping[str, str], swap_id: str) -> bool:
    """Whether it is the summary of that swap."""
    try:
        note = json.loads(summary.get(MAINTENANCE_KEY, "null"))
    except ValueError:
        return False
    return isinstance(note, dict) and note.get("id") == swap_id


@dataclass(frozen=True, slots=True)
class Lander:
    """Brings swaps into one table within `commit_within_s` of their beginning.

    `turn`: runs an attempt, in a sidecar between two flushes, so that neither is in the other's
    way. `epoch`: of this sidecar, None for whoever has none; `may_go_on` False: give up.
    """

    table: SwapTable
    clock: Clock
    backoff: Callable[[], Backoff]
    commit_within_s: float
    turn: Callable[[Callable[[], str]], str] = lambda job: job()
    epoch: Callable[[], int | None] = lambda: None
    may_go_on: Callable[[], bool] = lambda: True
    failpoint: Failpoint = no_failpoint

    def land(self, swap: Swap) -> None:
        """Commit it.

        Raises:
            CancelledError: it was given up, or it is unknown whether it landed: its files are
                live, or orphans that are collected later.
            FencedError: another sidecar has taken over.
        """
        backoff = self.backoff()
        until_s = self.clock.monotonic_s() + self.commit_within_s
        while reason := self.turn(lambda: self._attempt(swap)):
            delay_s = backoff.next_s()
            if not self.may_go_on() or self.clock.monotonic_s() + delay_s > until_s:
                raise _given_up(self.table.name, reason)
            self.clock.sleep(delay_s)

    def _attempt(self, swap: Swap) -> str:
        """Why there must be another one; empty when it is in the table."""
        try:
            head = self.table.head()
        except UnavailableError as error:
            return str(error)
        if self.table.holds(head, swap.swap_id):
            return ""
        marker = self._checked(head)
        # After the head was loaded: it is the head of a time within the bound, or none is asserted.
        if self.clock.wall_s() - swap.begun_s > self.commit_within_s:
            raise _given_up(self.table.name, "no commit came through in time")
        self.failpoint("compaction.before_commit")
        outcome = self.table.swap(swap, marker, head)
        self.failpoint("compaction.after_commit")
        match outcome:
            case Committed():
                return ""
            case Gone():
                raise _given_up(self.table.name, "its files were replaced by another commit")
            case Conflict():
                return "another commit came first"
            case _:
                return outcome.reason

    def _checked(self, head: Head) -> Marker:
        name, marker, mine = self.table.name, head.marker, self.epoch()
        if marker is None:
            raise OperatorError(f"table {name} has no marker, so it is not compacted")
        if mine is not None and marker.epoch > mine:
            raise FencedError(f"another sidecar took over table {name}: this one compacts no more")
        if mine is not None and marker.epoch < mine:
            raise _given_up(name, "the table was rolled back")
        return marker


def _given_up(table: str, why: str) -> CancelledError:
    return CancelledError(f"a compaction of table {table} was given up: {why}")
