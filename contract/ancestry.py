"""Which marker holds for a snapshot, when summaries and the table property do not agree.

The nearest summary of the ancestry wins. The property is a second copy, written in the same
commit: it is older or newer than the truth after a rollback or a restore, and all that is left
after a foreign tool expired the snapshot with the marker. Whatever cannot be told apart by what is
still known of the ancestry is for the operator to decide. Writer and reader ask the same function:
whoever believed the copy of a commit that was rolled back would take its rows for written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from contract.errors import OperatorError
from contract.marker import MARKER_KEY, Marker, find_marker, is_at_or_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FIRST_SEQUENCE_NUMBER = 1


class Commit(Protocol):
    """What must be known of a snapshot."""

    @property
    def sequence_number(self) -> int:
        """Of the table's snapshots in the order of their commits; 0: unknown."""
        ...

    @property
    def summary(self) -> Mapping[str, str]:
        """What was written with it."""
        ...


def marker_of(
    ancestry: Sequence[Commit],
    others: Iterable[Commit],
    properties: Mapping[str, str],
    *,
    stores_offsets: bool,
) -> Marker | None:
    """The marker of the newest snapshot of `ancestry`, None if the table never had one.

    `ancestry`: the snapshot and its known ancestors, newest first; empty for a table without a
    snapshot. `others`: the table's snapshots that are not in it. `stores_offsets`: the table has
    our provenance columns, so its rows were most likely written by us.

    Raises:
        OperatorError: a marker cannot be read, or property and ancestry contradict each other.
    """
    marker = find_marker((s.summary for s in ancestry), properties)
    text = properties.get(MARKER_KEY)
    # Whoever expires a snapshot may take its id from its children too, so a snapshot without a
    # parent is the table's first one only if its number says so.
    known_to_the_root = not ancestry or ancestry[-1].sequence_number == FIRST_SEQUENCE_NUMBER
    if any(MARKER_KEY in s.summary for s in ancestry):
        if marker is not None and text is not None:
            _check_property(marker, Marker.from_json(text), [*ancestry, *others])
        return marker
    if marker is None:
        if stores_offsets and not known_to_the_root:
            raise OperatorError(
                "the table's older snapshots were expired, and with them its marker: restore the "
                f"table property {MARKER_KEY!r} from a backup of the table's metadata"
            )
        return None
    rolled_back = _is_of_one(marker, others)
    if not known_to_the_root and not rolled_back:
        return marker
    if known_to_the_root and rolled_back:
        return None
    raise OperatorError(
        f"the table property {MARKER_KEY!r} names a commit that the current snapshot does not "
        "hold: roll the table forward to that commit, or remove the property"
    )


def _check_property(marker: Marker, copy: Marker, known: Iterable[Commit]) -> None:
    """A copy that is ahead of its summary must be the copy of a snapshot that is still known."""
    if copy.commit_id == marker.commit_id or is_at_or_after(marker.next, copy.next):
        return
    if not _is_of_one(copy, known):
        raise OperatorError(
            f"the table property {MARKER_KEY!r} is ahead of the snapshot's own marker, and no "
            "known snapshot explains it: roll the table forward, or remove the property"
        )


def _is_of_one(marker: Marker, snapshots: Iterable[Commit]) -> bool:
    return any(_commit_id(s) == marker.commit_id for s in snapshots)


def _commit_id(snapshot: Commit) -> str | None:
    try:
        return str(json.loads(snapshot.summary.get(MARKER_KEY, "null"))["commit_id"])
    except (ValueError, KeyError, TypeError):
        return None
