"""Which snapshots descend from which, and what foreign rows they hold. Pure.

Rows that another tool appends belong to the table from their snapshot on: they are in every
snapshot that descends from it, and no cut says anything of them. So what an answer must hold is
the log up to its cut, and the foreign rows of its snapshot's ancestry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOREIGN_KEY = "audit.foreign"  # summary key of a foreign append: its number
FOREIGN_PARTITION = -1  # no log has it
FOREIGN_SYMBOL = "FOREIGN"


class ForeignRow(NamedTuple):
    """A row that no log has. Price and quantity in 1e-8."""

    message_id: str
    offset: int
    price: int
    quantity: int


class Lineage:
    """Everything that was ever learned of the table's snapshots."""

    def __init__(self) -> None:
        self._parents: dict[int, int | None] = {}
        self._foreign: dict[int, str] = {}  # snapshot -> number of the foreign append
        self._rows: dict[str, tuple[ForeignRow, ...]] = {}
        self._held: dict[int, tuple[ForeignRow, ...]] = {}

    def announce(self, number: str, rows: Sequence[ForeignRow]) -> None:
        """Rows that a foreign tool is about to append under this number."""
        self._rows[number] = tuple(rows)

    def learn(self, metadata: Mapping[str, Any]) -> None:
        """Take in the snapshots of a table's metadata, as Iceberg writes it in JSON.

        What was known stays: whoever expires a snapshot may take its id from its children too.
        """
        for snapshot in metadata.get("snapshots", ()):
            snapshot_id = snapshot["snapshot-id"]
            if snapshot_id in self._parents:
                continue
            self._parents[snapshot_id] = snapshot.get("parent-snapshot-id")
            if number := snapshot.get("summary", {}).get(FOREIGN_KEY):
                self._foreign[snapshot_id] = number

    def knows(self, snapshot_id: int | None) -> bool:
        """Whether it was seen in the catalog."""
        return snapshot_id is None or snapshot_id in self._parents

    def foreign(self, snapshot_id: int | None) -> tuple[ForeignRow, ...]:
        """The foreign rows in that snapshot, which is known."""
        if snapshot_id is None:
            return ()
        path = []
        at: int | None = snapshot_id
        while at is not None and at not in self._held:
            path.append(at)
            at = self._parents.get(at)
        rows = self._held[at] if at is not None else ()
        for known in reversed(path):
            number = self._foreign.get(known)
            rows = rows if number is None else (*rows, *self._rows[number])
            self._held[known] = rows
        return rows

    def descends(self, snapshot_id: int | None, ancestor: int) -> bool:
        """Whether it is the ancestor or comes from it."""
        at = snapshot_id
        while at is not None and at != ancestor:
            at = self._parents.get(at)
        return at == ancestor
