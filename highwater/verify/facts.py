"""What the adapters saw, as values: the core judges these and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A live entry of a manifest. `name`: the path, relative to the table's location."""

    path: str
    name: str
    inside: bool  # whether the path lies in the table's location
    added_by: int  # snapshot id
    sequence: int
    size_bytes: int
    rows: int
    is_deletes: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets of one partition in one row group."""

    lowest: int
    highest: int
    rows: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group that can be read. `file`: index of its file among the snapshot's entries."""

    file: int
    group: int
    spans: Mapping[int, Span]  # by partition


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file as it was found in storage.

    `problem` and `problem_check`: why it can't be used. `disorder`: partition and offset of the
    first row that stands behind a later one of its partition.
    """

    size_bytes: int | None = None
    rows: int | None = None
    problem: str = ""
    problem_check: str = ""
    groups: tuple[RowGroup, ...] = ()
    disorder: tuple[int, int] | None = None
    digest: bytes = b""  # of all partitions and offsets, in the file's order


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot of the ancestry. `added`, `removed`: rows of data files; None: not readable.

    `number`: counted over all of the table's commits, from 1; 0 if it is not known.
    """

    snapshot_id: int
    number: int
    operation: str
    summary: Mapping[str, str]
    added: int | None = 0
    removed: int | None = 0


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One pinned table. `commits`: the snapshot and its known ancestors, newest first."""

    table: str
    commits: tuple[Commit, ...]
    properties: Mapping[str, str]
    entries: tuple[FileEntry, ...] = ()
    manifests_problem: str = ""
    known_markers: tuple[str, ...] = ()  # of all snapshots, those off the ancestry too

    @property
    def snapshot_id(self) -> int | None:
        """The pinned snapshot."""
        return self.commits[0].snapshot_id if self.commits else None

    @property
    def holds_rows(self) -> bool:
        """True if it is unknown."""
        return bool(self.commits) and self.commits[0].summary.get("total-records") != "0"


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The topic, looked at after both tables were pinned. `bounds`: [first offset, end)."""

    topic: str
    topic_id: str
    bounds: Mapping[int, tuple[int, int]]
    compacted: bool = False  # or nobody can say


@dataclass(slots=True)
class RangeReport:
    """Which offsets of one partition were checked how, and what was there."""

    partition: int
    from_offset: int
    to_offset: int
    log_from: int  # from here on against the log, below by structure alone
    structure_rows: int = 0
    log_rows: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    holes: int = 0
    unjudged: int = 0  # not in the table; under other rules nobody can say whether it should be
