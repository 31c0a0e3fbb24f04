"""What Kafka's retention deleted before it was ingested: refused, or noted exactly. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contract.errors import OperatorError
from contract.marker import Gap, NextByLane
from contract.table import LANES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contract.table import Lane

RETENTION = "deleted by retention before it was ingested"


def gaps_below(
    topic: str, partition: int, by_lane: NextByLane, low: int, accept_gaps: bool, now_ms: int
) -> list[Gap]:
    """What is missing below `low`: of the lanes that were behind, and of all from the live offset.

    OperatorError if no gap is accepted. Rejects have no lane; they were read up to the live offset.
    """
    live = max(by_lane)
    gaps = []
    for floor in sorted({o for o in by_lane if o < min(low, live)}):
        gap = gap_at(topic, partition, floor, min(low, live), accept_gaps, now_ms)
        gaps.append(replace(gap, lanes=tuple(ln for ln in LANES if by_lane[ln] == floor)))
    if live < low:
        gaps.append(gap_at(topic, partition, live, low, accept_gaps, now_ms))
    return gaps


def gap_at(
    topic: str, partition: int, position: int, low: int, accept_gaps: bool, now_ms: int
) -> Gap:
    """The gap [position, low) that the log's retention made; OperatorError if none is accepted."""
    if not accept_gaps:
        raise OperatorError(
            f"topic {topic!r} partition {partition}: offsets {position} to {low - 1} were deleted "
            "by Kafka's retention before they were ingested; start with --accept-gaps to note the "
            "gap in the table and go on behind it"
        )
    return Gap(partition, position, low, RETENTION, now_ms)


def truncated(topic: str, partition: int, position: int, end: int) -> OperatorError:
    """What to say of a log that ends before what was read of it."""
    return OperatorError(
        f"topic {topic!r} partition {partition} ends at offset {end}, but the table has read up to "
        f"{position}: the log was truncated or is another one; restore it, or take a new table"
    )


def resolve_position(
    topic: str,
    partition: int,
    position: int,
    bounds: tuple[int, int],
    accept_gaps: bool,
    now_ms: int,
) -> Gap | None:
    """What a position means that the log calls out of range: a gap, an error, or nothing."""
    low, end = bounds
    if position > end:
        raise truncated(topic, partition, position, end)
    return gap_at(topic, partition, position, low, accept_gaps, now_ms) if position < low else None


def resolve_backfill(
    topic: str,
    partition: int,
    position: int,
    bounds: tuple[int, int],
    lost: Iterable[tuple[int, tuple[Lane, ...]]],
    accept_gaps: bool,
    now_ms: int,
) -> list[Gap]:
    """The same for a position of the backfill. `lost`: where lanes stand that miss something."""
    gap = resolve_position(topic, partition, position, bounds, accept_gaps, now_ms)
    if gap is None:
        return []
    return [replace(gap, from_offset=floor, lanes=lanes) for floor, lanes in lost]
