"""Which files of a table's directory nothing needs any more. Pure.

Two things can need a file that no known snapshot names:

- *A commit that is still open.* Whoever commits asserts the head that it has loaded, so a commit
  that began before the present head was made cannot land any more. Manifests and compacted files
  are committed within `commit_within_s` or never: those from longer before the head are safe. A
  flush is tried for as long as it takes, so its file is kept until the marker has passed one of
  its rows: then no sidecar may commit it. What other tools do nobody knows: three days for theirs.
- *A reader* that has pinned a snapshot which was forgotten since. Files are removed when they were
  known to be unneeded for the time of grace. When that began stands in a ledger beside the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from contract.marker import NextOffsets

STRANGER_S = 3 * 86_400.0
_OURS = re.compile(r"[0-9a-f]{32}-\d{5}\.parquet")


class Kind(Enum):
    """What a file is, by its name: directory and ending."""

    DATA = ("data/", ".parquet")
    MANIFEST = ("metadata/", ".avro")
    METADATA = ("metadata/", ".metadata.json")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the table's directory. `name`: relative to it. `modified_s`: since the epoch."""

    name: str
    size_bytes: int
    modified_s: float

    @property
    def kind(self) -> Kind | None:
        """None: it is not one of a table's files, and left alone."""
        for kind in Kind:
            directory, ending = kind.value
            if self.name.startswith(directory) and self.name.endswith(ending):
                return kind
        return None

    @property
    def is_ours(self) -> bool:
        """Whether a sidecar or `highwater maintain` gave it its name."""
        return _OURS.fullmatch(self.name.rpartition("/")[2]) is not None


# Per partition the lowest offset of a data file; empty: it has no rows of the log, None: unreadable
Lowest = dict[int, int] | None


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in s. `head_s`: when the present head was made; `now_s`: both since the epoch."""

    now_s: float
    head_s: float
    commit_within_s: float
    grace_s: float
    next: NextOffsets

    def is_closed(self, file: StoredFile, lowest: Lowest) -> bool:
        """Whether no commit that is still open could add it. `lowest`: of a data file."""
        if file.modified_s + self.commit_within_s >= self.head_s:
            return False
        if file.kind is not Kind.DATA:
            return True
        if not file.is_ours or lowest == {}:
            return self.now_s - file.modified_s >= STRANGER_S
        if lowest is None:
            return True  # never complete, so nobody can have it to commit
        return any(o < min(self.next[p]) for p, o in lowest.items() if p in self.next)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ready`: to be removed now. `seen_s`: the ledger: since when each file was not needed."""

    ready: tuple[StoredFile, ...]
    waiting: tuple[StoredFile, ...]  # for the end of the grace
    open: tuple[StoredFile, ...]  # a commit could still add them
    seen_s: Mapping[str, float]


def unneeded(files: Iterable[StoredFile], named: Collection[str]) -> list[StoredFile]:
    """The table's files that no snapshot names. `named`: relative as `StoredFile.name`."""
    return [f for f in files if f.kind is not None and f.name not in named]


def judge(
    found: Iterable[StoredFile],
    lowest: Mapping[str, Lowest],
    ledger: Mapping[str, float],
    rules: Rules,
) -> Verdict:
    """What is to be done with the unneeded files. `lowest`: of data files not in the ledger, as
    far as they were looked at.
    """
    ready: list[StoredFile] = []
    waiting: list[StoredFile] = []
    undecided: list[StoredFile] = []
    seen_s: dict[str, float] = {}
    for file in found:
        if file.name not in ledger:
            unknown = file.kind is Kind.DATA and file.name not in lowest
            if unknown or not rules.is_closed(file, lowest.get(file.name)):
                undecided.append(file)
                continue
        since_s = seen_s[file.name] = min(ledger.get(file.name, rules.now_s), rules.now_s)
        (ready if rules.now_s - since_s >= rules.grace_s else waiting).append(file)
    return Verdict(tuple(ready), tuple(waiting), tuple(undecided), seen_s)
