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

from contract.errors import UnavailableError
from contract.marker import MARKER_KEY, Marker, find_marker
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

    def add(self, rows: pa.Table, marker: Marker | None) -> int:
        """Put a snapshot on top of the head; without a marker it is somebody else's."""
        self.last_id += 1
        summary = {} if marker is None else {MARKER_KEY: marker.to_json()}
        self.snapshots[self.last_id] = Snapshot(self.last_id, self.head, rows, summary)
        self.properties.update(summary)
        self.head = self.last_id
        return self.last_id

    def ancestors(self) -> Iterator[Snapshot]:
        """The head and those before it that are still known, newest first."""
        found = self.snapshots.get(self.head) if self.head is not None else None
        while found is not None:
            yield found
            found = self.snapshots.get(found.parent) if found.parent is not None else None

    def rows(self) -> pa.Table:
        """All rows of the head, those of expired snapshots too."""
        return pa.concat_tables([self.schema.empty_table(), *(s.rows for s in self.all())])

    def all(self) -> list[Snapshot]:
        """Every snapshot that was ever an ancestor of the head, oldest first."""
        return [self.snapshots_ever[i] for i in self._line()]

    def _line(self) -> list[int]:
        line, at = [], self.head
        while at is not None:
            line.append(at)
            at = self.snapshots_ever[at].parent
        return line[::-1]

    @property
    def snapshots_ever(self) -> dict[int, Snapshot]:
        """Expired ones too: their rows stay in the table."""
        return self.snapshots | self.expired

    expired: dict[int, Snapshot] = field(default_factory=dict)


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
        self._on_call("head")
        self._fail_on(Fault.NO_HEAD)
        storage = self.storage
        summaries = [s.summary for s in storage.ancestors()]
        return Head(
            snapshot_id=storage.head,
            schema_id=0,
            marker=find_marker(summaries, storage.properties),
            holds_rows=storage.rows().num_rows > 0,
        )

    def write(self, rows: pa.Table) -> Written:
        self._on_call("write")
        self._fail_on(Fault.NO_WRITE)
        self.storage.written_files += 1
        return Written(rows.num_rows, 1, rows.nbytes, (rows.cast(self.storage.schema),))

    def commit(self, written: Written, marker: Marker, expected: Head) -> CommitOutcome:
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
        self._on_call("read")
        rows = self.storage.rows()
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
        self._on_call("expire")
        ancestors = list(self.storage.ancestors())
        marked = next((i for i, s in enumerate(ancestors) if MARKER_KEY in s.summary), 0)
        old = ancestors[max(keep_snapshots, marked + 1) :]
        for snapshot in old:
            self.storage.expired[snapshot.snapshot_id] = snapshot
            del self.storage.snapshots[snapshot.snapshot_id]
        return len(old)

    def _next_is(self, faults: Sequence[Fault]) -> bool:
        return bool(self.storage.faults) and self.storage.faults[0] in faults

    def _fail_on(self, fault: Fault) -> None:
        if self._next_is([fault]):
            self.storage.faults.popleft()
            raise UnavailableError(f"scripted: {fault.value}")
