"""The maintenance of a simulated sidecar: its swaps, brought into the table by the real code.

There are no files in here to be put together. What is simulated is a commit that carries the
marker of the head forward, beside flushes, take-overs, roll-backs and answers that get lost.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from contract.errors import CancelledError, HighwaterError
from contract.marker import MAINTENANCE_KEY
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.table import MemoryTable, Storage
from ingest.backoff import Backoff
from ingest.commit import FencedError
from ingest.maintenance.swap import Gone, Lander, Swap, is_swap, summary_of
from ingest.ports import CommitOutcome, Committed, Conflict, Head, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.clock import Clock
    from contract.marker import Marker
    from highwater.simulate.ports import Port
    from highwater.simulate.table import Snapshot

_PAUSE_S = (0.3, 3.0)
_LATE_S = (0.01, 4.0)
_WITHIN_S = 5.0


class SimSwapTable:
    """`SwapTable` of one sidecar."""

    def __init__(self, port: Port, storage: Storage, name: str) -> None:
        self.name = name
        self._port = port
        self._storage = storage
        self._table = MemoryTable(storage, name)

    def head(self) -> Head:
        """See `SwapTable`, as for the other methods."""
        return self._port.call(f"{self.name} head", self._table.head)

    def holds(self, _head: Head, swap_id: str) -> bool:
        """See `SwapTable`."""
        return any(is_swap(s.summary, swap_id) for s in self._storage.ancestors())

    def swap(self, swap: Swap, marker: Marker, expected: Head) -> CommitOutcome | Gone:
        """See `SwapTable`."""
        world, random = self._port.world, self._port.world.random
        self._port.travel(f"{self.name} swap")
        if world.strikes(Fault.UNAVAILABLE) or not self._storage.has_summary_marker():
            return Unavailable("not sent")
        if world.strikes(Fault.UNKNOWN_LOST):
            return Unknown("lost")
        if world.strikes(Fault.UNKNOWN_LATE):
            world.scheduler.spawn(
                world.outside,
                lambda: world.note("catalog", f"late swap: {self._swap(swap, marker, expected)}"),
                random.uniform(*_LATE_S),
            )
            return Unknown("on its way")
        outcome = self._swap(swap, marker, expected)
        lost = world.strikes(Fault.UNKNOWN_LANDED)
        self._port.travel(f"{self.name} swap answered")
        return Unknown("the answer is lost") if lost else outcome

    def _swap(self, swap: Swap, marker: Marker, expected: Head) -> CommitOutcome:
        if self._storage.head != expected.snapshot_id:
            return Conflict()
        return Committed(self._storage.carry(summary_of(swap.swap_id, marker)))


def maintain(
    port: Port,
    storage: Storage,
    clock: Clock,
    epoch: Callable[[], int | None],
    next_id: Callable[[], str],
    random: Random,
) -> None:
    """One swap after the other, until another sidecar takes over. The id begins with the epoch."""
    table = SimSwapTable(port, storage, "rows")
    while True:
        clock.sleep(random.uniform(*_PAUSE_S))
        mine = epoch()
        if mine is None:
            continue
        lander = Lander(
            table,
            clock,
            lambda: Backoff(Random(random.random()), 0.05, 0.5),
            _WITHIN_S,
            epoch=lambda mine=mine: mine,  # type: ignore[misc]
        )
        try:
            lander.land(Swap(f"{mine}:{next_id()}", clock.wall_s()))
            port.world.reach(Reached.COMPACTED)
        except FencedError:
            port.world.reach(Reached.COMPACTION_FENCED)
            if epoch() == mine:  # else it has claimed the table anew
                return
        except CancelledError:
            port.world.reach(Reached.COMPACTION_GIVEN_UP)
        except HighwaterError as error:
            port.world.note(port.owner.name, f"no compaction: {error}")


def wrong_in_copy(snapshot: Snapshot, marker: Marker, before: Marker | None) -> str:
    """What is wrong with the snapshot of a compaction, if anything is."""
    epoch = int(json.loads(snapshot.summary[MAINTENANCE_KEY])["id"].partition(":")[0])
    if snapshot.rows.num_rows:
        return "a compaction brought rows"
    if marker != before:
        return f"a compaction carries {marker}, before it is {before}"
    if epoch != marker.epoch:
        return f"a sidecar of epoch {epoch} has compacted in epoch {marker.epoch}"
    return ""
