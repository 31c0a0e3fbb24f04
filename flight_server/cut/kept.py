"""Whether the rows of an earlier cut can be given again by a view of now, and if not, why not.

Rows of the log below a cut are the same for ever, wherever they lie by now: both processes drop
the same duplicates and know the same lanes, as long as the rules are the same. What can take rows
away is listed here: another table, another topic, other rules, a gap that retention left, and
other tools, which may add and remove rows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.marker import NextOffsets
    from flight_server.cut.receipt import GapRange, Others, TableCut


@dataclass(frozen=True, slots=True)
class Removal:
    """A commit of another writer that took more rows away than it added."""

    snapshot_id: int
    rows: int


@dataclass(frozen=True, slots=True)
class Present:
    """What a table is now. `others`: of its foreign rows those below the receipt's offsets; None:
    they cannot be told. `removals`: commits since the receipt's snapshot, as far as known.
    """

    table_id: str
    topic_id: str
    rules: str
    gaps: frozenset[GapRange]
    others: Others | None
    removals: Sequence[Removal]


def why_lost(name: str, asked: TableCut, now: Present) -> str:
    """Why the rows of that cut cannot be given again; empty if they can."""
    return (
        _why_incomparable(name, asked, now)
        or _why_log_differs(name, asked, now)
        or _why_others_differ(name, asked, now)
    )


def _why_incomparable(name: str, asked: TableCut, now: Present) -> str:
    if asked.table_id != now.table_id:
        return f"the receipt is of another table {name!r}, which was dropped and made again"
    if asked.topic_id != now.topic_id:
        return other_topic(name)
    if asked.rules != now.rules:
        return (
            f"the rules of table {name!r} for lanes and duplicates have changed since the receipt: "
            "which rows its cut holds can't be told any more"
        )
    return ""


def _why_log_differs(name: str, asked: TableCut, now: Present) -> str:
    if gap := _other_gap(asked, now.gaps):
        return (
            f"offsets {gap[1]} to {gap[2] - 1} of partition {gap[0]} of table {name!r} are below "
            "the cut, and retention took them out of the topic before they were in the lake"
        )
    for removal in now.removals:
        return (
            f"snapshot {removal.snapshot_id} of table {name!r}, which another writer committed "
            f"since the receipt, removed {removal.rows} rows"
        )
    return ""


def _why_others_differ(name: str, asked: TableCut, now: Present) -> str:
    if asked.others is None or now.others is None:
        return f"table {name!r} holds too many rows of other writers to tell which came when"
    if asked.others != now.others:
        return (
            f"table {name!r} holds rows of other writers, and not the same ones below the cut as "
            "at the time of the receipt"
        )
    return ""


def other_topic(name: str) -> str:
    """What is wrong with a receipt whose offsets are of another topic."""
    return (
        f"the receipt is of another topic of table {name!r}: the topic was deleted and made "
        "again, and its offsets mean other messages now"
    )


def _other_gap(asked: TableCut, now: frozenset[GapRange]) -> GapRange | None:
    """A gap below the cut that only one of both knows."""

    def below(gap: GapRange) -> bool:
        partition, start, _, lanes = gap
        cut = asked.cut.get(partition)
        return cut is not None and any(start < cut[lane] for lane in lanes)

    return min(filter(below, asked.gaps ^ now), default=None)


def behind(cut: NextOffsets, wanted: NextOffsets) -> str:
    """Where a cut has not reached another one, in words; empty if it has."""
    for partition, offsets in wanted.items():
        reached = cut.get(partition, (0,) * len(offsets))
        for have, want in zip(reached, offsets, strict=True):
            if have < want:
                return f"partition {partition} stands at offset {have}, asked for is {want}"
    return ""
