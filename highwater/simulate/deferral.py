"""A writer that defers lanes: it takes a table over, commits some lanes only, and is gone.

No sidecar of today does that, but markers, sidecars and servers are made for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.decode import Decoder
from contract.duplicates import CLOCK_START_US, DuplicateWindow, Remembered
from contract.log import RawBatch
from contract.table import LANES, Lane
from highwater.simulate.oracle import DEFINITION

if TYPE_CHECKING:
    from contract.marker import Marker
    from highwater.simulate.invariants import Facts
    from highwater.simulate.oracle import Oracle
    from highwater.simulate.world import World


def defer_lanes(world: World) -> bool:
    """One such commit, of the log up to its end; False if it is not possible just now."""
    facts = world.tables.rows(world.rows.head)
    dead = world.tables.dead(world.dead.head).marker
    marker = facts.marker
    if marker is None or dead is None or world.terminated or world.log.down:
        return False
    oracle = world.oracle(marker.topic_id)
    deferred = world.random.choice(LANES)
    positions = {p: max(*by_lane, world.log.end(p)) for p, by_lane in marker.next.items()}
    following = {
        p: tuple(by_lane[ln] if ln is deferred else positions[p] for ln in LANES)
        for p, by_lane in marker.next.items()
    }
    if following == marker.next:
        return False
    epoch = max(marker.epoch, dead.epoch) + 1
    _commit_dead(world, replace(dead, epoch=epoch, commit_id=world.next_id()), positions)
    rows = _rows(world, facts, following, oracle)
    taken = replace(
        marker,
        epoch=epoch,
        commit_id=world.next_id(),
        next=following,
        remembered={
            p: tuple(_remembered(oracle, facts, p, ln, following[p][ln]) for ln in LANES)
            for p in following
        },
        rows=rows.num_rows,
    )
    world.rows.add(rows, taken)
    return True


def _commit_dead(world: World, dead: Marker, positions: dict[int, int]) -> None:
    rejects = [(p, o) for p, end in positions.items() for o in _new_rejects(world, dead, p, end)]
    decoded = Decoder(DEFINITION).decode(_raw(world, rejects)).rejects
    reached = {p: (max(end, dead.next_offset(p)),) * len(LANES) for p, end in positions.items()}
    world.dead.add(_table(decoded), replace(dead, next={**dead.next, **reached}, rows=len(rejects)))


def _new_rejects(world: World, dead: Marker, partition: int, end: int) -> list[int]:
    return world.oracle(dead.topic_id).rejects(partition, dead.next_offset(partition), end)


def _rows(
    world: World, facts: Facts, following: dict[int, tuple[int, ...]], oracle: Oracle
) -> pa.Table:
    assert facts.marker is not None
    before = facts.marker.next
    places = sorted(
        (p, o)
        for p, by_lane in following.items()
        for ln in LANES
        for o in oracle.kept(p, facts.unseen(p), ln, before[p][ln], by_lane[ln])
    )
    return _table(Decoder(DEFINITION).decode(_raw(world, places)).rows)


def _raw(world: World, places: list[tuple[int, int]]) -> RawBatch:
    batch = RawBatch()
    for partition, offset in places:
        message = world.log.partitions[partition][offset]
        assert message is not None
        batch.partitions.append(partition)
        batch.offsets.append(offset)
        batch.timestamps_us.append(message.timestamp_us)
        batch.keys.append(message.key)
        batch.values.append(message.value)
    return batch


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _remembered(
    oracle: Oracle, facts: Facts, partition: int, lane: Lane, next_offset: int
) -> Remembered:
    window = DuplicateWindow(
        DEFINITION.duplicate_window_us, DEFINITION.duplicate_rows, CLOCK_START_US
    )
    for offset in oracle.kept(partition, facts.unseen(partition), lane, 0, next_offset):
        event = oracle.event(partition, offset)
        window.append([event.event_id], np.array([event.timestamp_us]), np.array([offset]))
    return window.remembered(next_offset)
