"""What a receipt says, as values. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from highwater.audit.log_model import LANE_NAMES, Cut

if TYPE_CHECKING:
    from collections.abc import Mapping


class Receipt(NamedTuple):
    """One table's part of a receipt: what the answer covers, and where history ends."""

    cut: Cut
    lake: Cut
    snapshot_id: int | None
    topic_id: str


def parse_receipt(text: bytes, table: str) -> Receipt:
    """The receipt of an answer over that table; ValueError or LookupError if it is none."""
    found: Mapping[str, Any] = json.loads(text)["tables"][table]
    snapshot_id = found["snapshot_id"]
    return Receipt(
        cut=_cut(found["cut"]),
        lake=_cut(found["lake"]),
        snapshot_id=None if snapshot_id is None else int(snapshot_id),
        topic_id=found["topic_id"],
    )


def is_without(text: bytes, table: str) -> bool:
    """Whether a receipt says nothing of that table: it had no view when `system.*` was asked."""
    return table not in json.loads(text)["tables"]


def _cut(offsets: Mapping[str, Mapping[str, int]]) -> Cut:
    high, medium, low = LANE_NAMES
    return {int(p): (lanes[high], lanes[medium], lanes[low]) for p, lanes in offsets.items()}


def went_back(earlier: Cut, later: Cut) -> str:
    """Where `later` lies below `earlier`, in words; empty if nowhere."""
    for partition, offsets in earlier.items():
        for lane, offset in enumerate(offsets):
            found = later[partition][lane] if partition in later else 0
            if found < offset:
                return f"partition {partition} lane {LANE_NAMES[lane]}: {offset}, then {found}"
    return ""


def furthest(one: Cut, other: Cut) -> Cut:
    """Per partition and lane, the larger of both."""
    joined = dict(one)
    for partition, (high, medium, low) in other.items():
        known = joined.get(partition, (0, 0, 0))
        joined[partition] = (max(known[0], high), max(known[1], medium), max(known[2], low))
    return joined
