"""The lake as a server sees it: snapshots of a table in memory, markers found by the real rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import OperatorError
from highwater.simulate.faults import Reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from contract.marker import Marker, NextOffsets
    from highwater.simulate.ports import Port
    from highwater.simulate.table import Storage


@dataclass(frozen=True, slots=True)
class SimSnapshot:
    """`LakeLike`."""

    table: str
    snapshot_id: int | None
    marker: Marker | None


class SimLake:
    """One table for the refresher: as `flight_server.lake.table.LakeTable`, over a `Storage`."""

    def __init__(self, port: Port, storage: Storage, name: str) -> None:
        self._port = port
        self._storage = storage
        self._name = name
        self._known: tuple[object, SimSnapshot] | None = None

    def refresh(self) -> SimSnapshot:
        """The current snapshot; the same object as before if the table did not change."""
        return self._port.call(f"{self._name} refresh", self._read)

    def seed_rows(self, lake: SimSnapshot, _starts: NextOffsets) -> Iterator[pa.RecordBatch]:
        """All rows of that snapshot, newest first: the order must not matter."""
        line = self._port.call(
            f"{self._name} seed rows", lambda: self._storage.all(lake.snapshot_id)
        )
        for snapshot in reversed(line):
            yield from snapshot.rows.to_batches()

    def _read(self) -> SimSnapshot:
        storage = self._storage
        version = (storage.head, len(storage.snapshots), tuple(sorted(storage.properties.items())))
        if self._known is not None and self._known[0] == version:
            return self._known[1]
        try:
            marker = storage.marker()
        except OperatorError:
            self._port.world.reach(Reached.LAKE_UNREADABLE)
            raise
        self._known = version, SimSnapshot(self._name, storage.head, marker)
        return self._known[1]
