"""A table in memory that keeps the promises of `ingest.ports.Table`, and can be made to fail.

It passes the suite that the real one passes (tests/ports), or tests over it would prove nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.ancestry import marker_of
from contract.errors import UnavailableError
from contract.marker import MARKER_KEY, Marker
from contract.table import OFFSET, PARTITION
from ingest.ports import (
    CommitOutcome,
    Committed,
    Conflict,
    Head,
    OffsetRange,
    Unavailable,
    Unknown,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Fault(Enum):
    """What happens to one commit (or, for the last two, to one other call)."""

    FOREIGN = "a commit without a marker comes first"
    UNAVAILABLE = "it is not sent"
    LANDED = "it lands, its answer is lost"
    LOST = "it does not land, and nobody says so"
    NO_HEAD = "the catalog does not answer"
    NO_WRITE = "the storage does not answer"


COMMIT_FAULTS = (Fault.FOREIGN, Fault.UNAVAILABLE, Fault.LANDED, Fault.LOST)


@dataclass(frozen=True)
class Snapshot:
    """One commit; `rows` are those that it added."""

    snapshot_id: int
    parent: int | None
    rows: pa.Table
    summary: Mapping[str, str]
    sequence_number: int = 0


@dataclass
class Storage:
    """What outlives a process."""

    schema: pa.Schema
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    head: int | None = None
    properties: dict[str, str] = field(default_factory=dict)
    last_id: int = 0
    faults: deque[Fault] = field(default_factory=deque)
    written_files: int = 0
    expired: dict[int, Snapshot] = field(default_factory=dict)

    def add(self, rows: pa.Table, marker: Marker | None) -> int:
        """Put a snapshot on top of the head; without a marker it is somebody else's."""
        self.last_id += 1
        summary = {} if marker is None else {MARKER_KEY: marker.to_json()}
        self.snapshots[self.last_id] = Snapshot(
            self.last_id, self.head, rows, summary, self.last_id
        )
        self.properties.update(summary)
        self.head = self.last_id
        return self.last_id

    def carry(self, summary: Mapping[str, str]) -> int:
        """Put a snapshot of maintenance on top of the head: it changes no row and no property."""
        self.last_id += 1
        self.snapshots[self.last_id] = Snapshot(
            self.last_id, self.head, self.schema.empty_table(), summary, self.last_id
        )
        self.head = self.last_id
        return self.last_id

    def ancestors(self) -> Iterator[Snapshot]:
        """The head and those before it that are still known, newest first."""
        found = self.snapshots.get(self.head) if self.head is not None else None
        while found is not None:
            yield found
            found = self.snapshots.get(found.parent) if found.parent is not None else None

    def rows(self, snapshot_id: int | None = None) -> pa.Table:
        """All rows of the head (or of that snapshot), those of expired snapshots too."""
        added = [s.rows for s in self.all(snapshot_id) if s.rows.num_rows]
        return pa.concat_tables([self.schema.empty_table(), *added])

    def all(self, snapshot_id: int | None = None) -> list[Snapshot]:
        """Every snapshot that was ever an ancestor of the head (or of that one), oldest first."""
        line, at = [], self.head if snapshot_id is None else snapshot_id
        while at is not None:
            line.append(self.snapshots[at] if at in self.snapshots else self.expired[at])
            at = line[-1].parent
        return line[::-1]

    def marker(self) -> Marker | None:
        """The marker that holds for the head. OperatorError if that is unclear."""
        line = list(self.ancestors())
        inside = {s.snapshot_id for s in line}
        others = [s for s in self.snapshots.values() if s.snapshot_id not in inside]
        return marker_of(line, others, self.properties, stores_offsets=True)

    def has_summary_marker(self) -> bool:
        """Whether an ancestor that is still known carries a marker."""
        return any(MARKER_KEY in s.summary for s in self.ancestors())

    def forget(self, snapshot_id: int) -> None:
        """Expire a snapshot; its rows stay in the table."""
        self.expired[snapshot_id] = self.snapshots.pop(snapshot_id)


class MemoryTable:
    """See `ingest.ports.Table`."""

    def __init__(
        self,
        storage: Storage,
        name: str = "memory.table",
        on_call: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.name = name
        self.storage = storage
        self._on_call = on_call

    def head(self) -> Head:
        """See `Table`."""
        self._on_call("head")
        self._fail_on(Fault.NO_HEAD)
        storage = self.storage
        return Head(
            snapshot_id=storage.head,
            schema_id=0,
            marker=storage.marker(),
            holds_rows=any(s.rows.num_rows for s in storage.all()),
        )

    def write(self, rows: pa.Table) -> Written:
        """See `Table`."""
        self._on_call("write")
        self._fail_on(Fault.NO_WRITE)
        self.storage.written_files += 1
        return Written(rows.num_rows, 1, rows.nbytes, (rows.cast(self.storage.schema),))

    def commit(self, written: Written, marker: Marker, expected: Head) -> CommitOutcome:
        """See `Table`."""
        self._on_call("commit")
        storage = self.storage
        fault = storage.faults.popleft() if self._next_is(COMMIT_FAULTS) else None
        if fault is Fault.UNAVAILABLE:
            return Unavailable("scripted")
        if fault is Fault.LOST:
            return Unknown("scripted: lost")
        if fault is Fault.FOREIGN:
            storage.add(storage.schema.empty_table(), None)
        if storage.head != expected.snapshot_id:
            return Conflict()
        rows = pa.concat_tables([storage.schema.empty_table(), *written.handle])
        snapshot_id = storage.add(rows, marker)
        return Unknown("scripted: landed") if fault is Fault.LANDED else Committed(snapshot_id)

    def read(self, head: Head, ranges: Sequence[OffsetRange], columns: Sequence[str]) -> pa.Table:
        """See `Table`."""
        self._on_call("read")
        rows = self.storage.rows(head.snapshot_id)
        partitions = rows.column(PARTITION).to_numpy()
        offsets = rows.column(OFFSET).to_numpy()
        wanted = np.zeros(rows.num_rows, dtype=bool)
        for r in ranges:
            inside = (offsets >= r.from_offset) & (offsets < r.to_offset)
            wanted |= inside & (partitions == r.partition)
        found = rows.filter(pa.array(wanted))
        ordered = found.sort_by([(PARTITION, "ascending"), (OFFSET, "ascending")])
        return ordered.select(columns)

    def expire(self, keep_snapshots: int) -> int:
        """See `Table`."""
        self._on_call("expire")
        ancestors = list(self.storage.ancestors())
        marked = next((i for i, s in enumerate(ancestors) if MARKER_KEY in s.summary), 0)
        old = ancestors[max(keep_snapshots, marked + 1) :]
        for snapshot in old:
            self.storage.forget(snapshot.snapshot_id)
        return len(old)

    def _next_is(self, faults: Sequence[Fault]) -> bool:
        return bool(self.storage.faults) and self.storage.faults[0] in faults

    def _fail_on(self, fault: Fault) -> None:
        if self._next_is([fault]):
            self.storage.faults.popleft()
            raise UnavailableError(f"scripted: {fault.value}")


def places(rows: pa.Table | pa.RecordBatch) -> list[tuple[int, int]]:
    """Partition and offset of each row."""
    columns = (rows.column(c).to_pylist() for c in (PARTITION, OFFSET))
    return list(zip(*columns, strict=True))
