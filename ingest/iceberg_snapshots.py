"""The snapshots of a loaded table: the head's ancestry, and which of it can be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

from contract.marker import MARKER_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


def ancestors(table: Table) -> Iterator[Snapshot]:
    """The head and those before it that are still known, newest first."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None


def summary_of(snapshot: Snapshot) -> Mapping[str, str]:
    """What was written with it."""
    return snapshot.summary.additional_properties if snapshot.summary else {}


def expirable(table: Table, keep_snapshots: int) -> list[int]:
    """Ids of the head's ancestors beyond the newest `keep_snapshots`.

    A marker is found by ancestry, so the nearest snapshot that has one is kept, and what lies
    between it and the head. What a branch or a tag names is kept as well.
    """
    line = list(ancestors(table))
    marked = next((i for i, s in enumerate(line) if summary_of(s).get(MARKER_KEY)), 0)
    named = {ref.snapshot_id for ref in table.metadata.refs.values()}
    old = (s.snapshot_id for s in line[max(keep_snapshots, marked + 1) :])
    return [snapshot_id for snapshot_id in old if snapshot_id not in named]


def forget(table: Table, snapshot_ids: Sequence[int]) -> int:
    """Take them out of the metadata; how many. Files stay in storage.

    Raises:
        CommitFailedException: another commit came first.
    """
    head = table.current_snapshot()
    if head is None or not snapshot_ids:
        return 0
    update = RemoveSnapshotsUpdate.model_validate(
        {"action": "remove-snapshots", "snapshot-ids": list(snapshot_ids)}
    )
    # The library asserts nothing here: a table that was rolled back meanwhile would lose its head.
    requirement = AssertRefSnapshotId.model_validate(
        {"type": "assert-ref-snapshot-id", "ref": MAIN_BRANCH, "snapshot-id": head.snapshot_id}
    )
    with table.transaction() as transaction:
        transaction._apply((update,), (requirement,))  # noqa: SLF001 - it has no public form
    return len(snapshot_ids)
