"""What the pipeline knows of the world outside: a log, two tables, executors, failpoints.

The adapters are `kafka_log` and `iceberg_table`; the tests have a scripted log and a table in
memory, and one suite (tests/ports) that both tables pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from contract.health import Code
from contract.log import LogSource

if TYPE_CHECKING:
    import pyarrow as pa

    from contract.marker import Marker

IdFactory = Callable[[], str]  # unique texts of letters, digits and dashes
Failpoint = Callable[[str], None]  # called with the name of the place that was reached


def no_failpoint(_name: str) -> None:
    """The failpoint of a production start."""


@dataclass(frozen=True, slots=True)
class Head:
    """A table's newest snapshot, as it was loaded: what a commit is made against.

    `marker`: by ancestry, so it may be of an older snapshot than `snapshot_id`. `handle` belongs
    to the adapter.
    """

    snapshot_id: int | None
    schema_id: int
    marker: Marker | None
    holds_rows: bool
    handle: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """Files that are complete in storage, and part of no snapshot yet."""

    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    handle: tuple[Any, ...] = field(default=(), repr=False)


NOTHING_WRITTEN = Written()


@dataclass(frozen=True, slots=True)
class Committed:
    """It is in the table."""

    snapshot_id: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """It is not in the table: the head is another one."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """It is not in the table: it was never sent. `code`: one of `contract.health.STORAGE`."""

    reason: str
    code: Code = Code.CATALOG_AWAY


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may be in the table: look for its commit id before anything else. `code` as above."""

    reason: str
    code: Code = Code.CATALOG_AWAY


CommitOutcome = Committed | Conflict | Unavailable | Unknown


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets [from_offset, to_offset) of one partition."""

    partition: int
    from_offset: int
    to_offset: int


class Table(Protocol):
    """One table with markers: the rows' or the dead letters'. Used by one thread at a time.

    Every method raises UnavailableError where trying again may help, and OperatorError where a
    person must act.
    """

    name: str

    def head(self) -> Head:
        """The newest snapshot, loaded now."""
        ...

    def write(self, rows: pa.Table) -> Written:
        """Write the rows into new files, durably. The table does not change."""
        ...

    def commit(self, written: Written, marker: Marker, expected: Head) -> CommitOutcome:
        """Add the files (or none) and the marker in one snapshot, iff the head is `expected`."""
        ...

    def read(self, head: Head, ranges: Sequence[OffsetRange], columns: Sequence[str]) -> pa.Table:
        """Those columns of that snapshot's rows in the ranges, ordered by partition and offset."""
        ...

    def expire(self, keep_snapshots: int) -> int:
        """Forget ancestors of the head beyond the newest `keep_snapshots`; how many went.

        The nearest snapshot with a marker stays, and what lies between it and the head. Files in
        storage stay as well.
        """
        ...


class IngestLog(LogSource, Protocol):
    """A log, and what a sidecar tells and asks beyond reading it. Neither call waits."""

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The log's end, for those partitions where it is known."""
        ...

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        """Tell lag tools how far the table is. It decides nothing and may be lost."""
        ...


@dataclass(frozen=True, slots=True)
class TopicState:
    """What the topic is now."""

    topic_id: str
    partitions: tuple[int, ...]


TopicLook = Callable[[], TopicState]  # may wait for the broker; raises as `LogSource` does
