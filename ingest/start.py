"""Where to start: from the table's marker and the log's bounds, checked against each other. Pure.

A claim is a commit without rows. It takes the next epoch, so that the next commit of an older
sidecar is refused, and it records what changed since the last one: gaps that were accepted, new
lane or duplicate rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.duplicates import CLOCK_START_US, DuplicateFilter, Remembered, RememberedByLane
from contract.errors import OperatorError
from contract.lanes import lanes_of
from contract.marker import Gap, Marker, NextByLane
from contract.table import LANES, OFFSET, PARTITION, PROVENANCE, TableDefinition
from ingest.commit import FencedError
from ingest.gaps import gaps_below, truncated
from ingest.ports import OffsetRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ingest.ports import Head, Table

_SEED_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class LogState:
    """The topic as it was found at the start; `bounds`: partition -> (first offset, end)."""

    topic: str
    topic_id: str
    bounds: Mapping[int, tuple[int, int]]


def claim_rows(
    head: Head,
    table: str,
    definition: TableDefinition,
    log: LogState,
    epoch_floor: int,
    accept_gaps: bool,
    now_ms: int,
) -> Marker:
    """The marker that takes over the table of the rows; its commit id is still empty.

    `epoch_floor`: the new epoch is above it. Raises OperatorError if log and table do not fit.
    """
    old = head.marker
    if old is None:
        return _first_marker(head, table, definition, log, epoch_floor)
    _check_topic(old, table, log)
    next_offsets, gaps = _next_offsets(old, table, log, accept_gaps, now_ms)
    return Marker(
        topic=log.topic,
        topic_id=log.topic_id,
        epoch=max(old.epoch, epoch_floor) + 1,
        commit_id="",
        next=next_offsets,
        remembered=_remembered(old, table, definition),
        rows=0,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=head.schema_id,
        rules_digest=definition.rules_digest,
        gaps=(*old.gaps, *gaps),
        level=old.level,
    )


def claim_dead(head: Head, table: str, rows: Marker) -> Marker:
    """The marker that takes over the dead letters, after the table of the rows was claimed.

    Raises FencedError if another sidecar was faster.
    """
    old = head.marker
    if old is None:
        _require_empty(head, table)
        start = {p: (rows.next_offset(p),) * len(LANES) for p in rows.next}
        return replace(rows, commit_id="", next=start, remembered={}, schema_id=head.schema_id)
    if old.topic_id != rows.topic_id:
        raise _other_topic(old, table, rows.topic)
    if old.epoch >= rows.epoch:
        raise FencedError(f"another sidecar took over table {table} while this one started")
    return replace(old, commit_id="", epoch=rows.epoch, rows=0, schema_id=head.schema_id)


def _first_marker(
    head: Head, table: str, definition: TableDefinition, log: LogState, epoch_floor: int
) -> Marker:
    _require_empty(head, table)
    start = {p: low for p, (low, _) in log.bounds.items()}
    return Marker(
        topic=log.topic,
        topic_id=log.topic_id,
        epoch=epoch_floor + 1,
        commit_id="",
        next={p: (low,) * len(LANES) for p, low in start.items()},
        remembered={p: _nothing_remembered((low,) * len(LANES)) for p, low in start.items()},
        rows=0,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=head.schema_id,
        rules_digest=definition.rules_digest,
    )


def _require_empty(head: Head, table: str) -> None:
    if head.holds_rows:
        raise OperatorError(
            f"table {table} holds rows but no marker, so it is unknown which messages are in it: "
            "take another namespace, or drop the table if it is not needed"
        )


def _check_topic(marker: Marker, table: str, log: LogState) -> None:
    if marker.topic != log.topic:
        raise OperatorError(
            f"table {table} holds topic {marker.topic!r}, not {log.topic!r}: name that topic in "
            "the table definition, or take another table name"
        )
    if marker.topic_id != log.topic_id:
        raise _other_topic(marker, table, log.topic)


def _other_topic(marker: Marker, table: str, topic: str) -> OperatorError:
    return OperatorError(
        f"topic {topic!r} was deleted and made again since table {table} read it (topic id "
        f"{marker.topic_id}): its offsets mean other messages now; ingest it into a new table "
        "(another name or namespace), or drop the old one"
    )


def _next_offsets(
    marker: Marker, table: str, log: LogState, accept_gaps: bool, now_ms: int
) -> tuple[dict[int, NextByLane], list[Gap]]:
    next_offsets = dict(marker.next)
    gaps = []
    if lost := sorted(set(marker.next) - set(log.bounds)):
        raise OperatorError(
            f"topic {log.topic!r} has no partition {lost[0]} any more, which table {table} has "
            "read: this is not the same topic"
        )
    for partition, (low, end) in sorted(log.bounds.items()):
        by_lane = next_offsets.get(partition, (0,) * len(LANES))
        if max(by_lane) > end:
            raise truncated(log.topic, partition, max(by_lane), end)
        if min(by_lane) < low:
            gaps += gaps_below(log.topic, partition, by_lane, low, accept_gaps, now_ms)
        next_offsets[partition] = tuple(max(o, low) for o in by_lane)
    return next_offsets, gaps


def _remembered(
    marker: Marker, table: str, definition: TableDefinition
) -> Mapping[int, RememberedByLane]:
    if marker.rules_digest == definition.rules_digest:
        return marker.remembered
    if any(len(set(by_lane)) > 1 for by_lane in marker.next.values()):
        raise OperatorError(
            f"the lane or duplicate rules of table {table} changed while a lane is behind: put the "
            "old rules back until all lanes have caught up"
        )
    # Under other rules the remembered rows may be in other lanes: both processes start afresh.
    return {p: _nothing_remembered(by_lane) for p, by_lane in marker.next.items()}


def _nothing_remembered(next_by_lane: NextByLane) -> RememberedByLane:
    return tuple(Remembered(offset, CLOCK_START_US) for offset in next_by_lane)


def seed(
    duplicates: DuplicateFilter, definition: TableDefinition, table: Table, marker: Marker
) -> int:
    """Bring the filter to where the claimed marker stands, from its rows; how many were read.

    Raises FencedError if the table has another one by now: its rows are not those before ours.
    """
    head = table.head()
    if head.marker is None or head.marker.commit_id != marker.commit_id:
        raise FencedError(f"another sidecar took over table {table.name} while this one started")
    duplicates.start(marker.remembered)
    ranges = [r for p in sorted(marker.remembered) for r in _remembered_ranges(marker, p)]
    if not ranges:
        return 0
    rows = table.read(head, ranges, _seed_columns(definition))
    size = max(marker.next) + 1
    low, high = np.zeros((size, len(LANES)), np.int64), np.zeros((size, len(LANES)), np.int64)
    for partition, by_lane in marker.remembered.items():
        low[partition] = [r.from_offset for r in by_lane]
        high[partition] = marker.next[partition]
    for chunk in rows.to_batches(_SEED_ROWS):
        lanes = lanes_of(definition, chunk)
        wanted = _between(chunk, lanes, low, high)
        duplicates.append(chunk.filter(pa.array(wanted)), lanes[wanted])
    return int(rows.num_rows)


def _remembered_ranges(marker: Marker, partition: int) -> list[OffsetRange]:
    """What must be read again, each offset once: lanes may be far apart."""
    ranges: list[OffsetRange] = []
    pairs = zip(marker.remembered[partition], marker.next[partition], strict=True)
    for start, end in sorted((r.from_offset, end) for r, end in pairs if r.from_offset < end):
        if ranges and start <= ranges[-1].to_offset:
            ranges[-1] = replace(ranges[-1], to_offset=max(end, ranges[-1].to_offset))
        else:
            ranges.append(OffsetRange(partition, start, end))
    return ranges


def _between(
    rows: pa.RecordBatch,
    lanes: NDArray[np.int8],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> NDArray[np.bool_]:
    partitions, offsets = rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
    inside: NDArray[np.bool_] = (offsets >= low[partitions, lanes]) & (
        offsets < high[partitions, lanes]
    )
    return inside


def _seed_columns(definition: TableDefinition) -> list[str]:
    used = {definition.message_id, *PROVENANCE}
    for rule in definition.lane_rules:
        used.update(rule.product, [rule.column] if rule.column else [])
    return [f.name for f in definition.stored_schema if f.name in used]
