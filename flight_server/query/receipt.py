"""The receipt: what an answer covers, in words that a program and a person can read.

`docs/receipt.md` describes every key. Ids are texts: some clients read JSON numbers as doubles.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from contract.table import Lane
from flight_server.view import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from contract.marker import Marker, NextOffsets
    from flight_server.query.types import LakeView

FORMAT = 1

_WORST_LAST = (State.COMPLETE, State.LAGGING, State.STALLED)


def receipt_of(
    views: Mapping[str, LakeView], pinned_s: float, asked: Mapping[str, object] | None = None
) -> str:
    """The receipt of an answer from these views, by live table; `pinned_s` since the epoch.

    `asked`: which cut a client asked for, if any.
    """
    return json.dumps(
        {
            "format": FORMAT,
            "pinned_at": datetime.fromtimestamp(pinned_s, UTC).isoformat(timespec="milliseconds"),
            "state": _worst(v.state for v in views.values()).value,
            "asked": asked,
            "tables": {name: _table(view) for name, view in views.items()},
        },
        separators=(",", ":"),
    )


def lanes(offsets: NextOffsets) -> dict[str, dict[str, int]]:
    """Offsets per partition and lane, with names for the lanes."""
    return {
        str(p): {lane.name: by_lane[lane] for lane in Lane}
        for p, by_lane in sorted(offsets.items())
    }


def _table(view: LakeView) -> dict[str, Any]:
    snapshot_id = view.lake.snapshot_id
    ancestry = view.lake.ancestry
    return {
        "table_id": view.lake.table_uuid,
        "snapshot_id": None if snapshot_id is None else str(snapshot_id),
        "snapshot_sequence": ancestry[0].sequence_number if ancestry else 0,
        "commit_id": view.marker.commit_id if view.marker else None,
        "topic": view.marker.topic if view.marker else None,
        "topic_id": view.topic_id,
        "rules": view.marker.rules_digest if view.marker else "",
        "level": view.marker.level.name if view.marker else None,
        "cut": lanes(view.cut),
        "lake": lanes(view.next),
        "gaps": _gaps(view.marker),
        "others": _others(view),
        "lag_messages": view.lag_messages,
        "lag_s": round(view.lag_s, 3),
        "newest_timestamp_us": view.newest_us,
        "state": view.state.value,
        "reason": view.reason,
    }


def _gaps(marker: Marker | None) -> list[list[Any]]:
    return [
        [g.partition, g.from_offset, g.to_offset, [lane.name for lane in g.lanes]]
        for g in (marker.gaps if marker is not None else ())
    ]


def _others(view: LakeView) -> dict[str, Any] | None:
    foreign = view.lake.foreign
    if view.asked is not None:
        others = view.asked.others
    else:
        others = None if foreign is None else foreign.everything
    if others is None:
        return None
    following = {str(p): o for p, o in sorted(others.next.items())}
    return {"next": following, "rows": others.rows, "digest": others.digest}


def _worst(states: Iterable[State]) -> State:
    return max(states, key=_WORST_LAST.index, default=State.COMPLETE)
