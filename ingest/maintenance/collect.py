"""Finds and removes the files of a table that nothing needs any more. The rules: `orphans`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from contract.errors import OperatorError, UnsupportedError
from ingest.maintenance.directory import TableDirectory
from ingest.maintenance.lake import outside
from ingest.maintenance.orphans import Kind, Rules, StoredFile, judge, unneeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table

    from contract.clock import Clock
    from ingest.maintenance.lake import MaintainedTable
    from ingest.maintenance.orphans import Lowest

_LOOKED_AT_MAX = 500  # files that are opened in one pass; the others are looked at in the next


@dataclass(frozen=True, slots=True)
class Collected:
    """What a pass has removed, or would have. `waiting`: for the end of the grace; `open`: a
    commit could still add them. `refused`: why nothing was looked for.
    """

    removed: int = 0
    removed_bytes: int = 0
    waiting: int = 0
    open: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """See `Rules`."""

    grace_s: float
    commit_within_s: float


class Collector:
    """The files of one table; used by one thread."""

    def __init__(self, table: MaintainedTable, clock: Clock, times: Times) -> None:
        self._table = table
        self._clock = clock
        self._times = times
        self._manifests: dict[str, frozenset[str]] = {}  # which files each names: it never changes

    def run(self, may_go_on: Callable[[], bool], *, dry_run: bool) -> Collected:
        """One pass; it ends early where `may_go_on` says no.

        Raises:
            OperatorError: files that the table needs are not there.
        """
        if not self._table.is_alone:
            return Collected(refused="its catalog may have branches, which name further files")
        with outside(f"the files of table {self._table.name} cannot be looked through"):
            try:
                directory = TableDirectory(self._table.load())
            except UnsupportedError as error:
                return Collected(refused=str(error))
            return self._run(directory, may_go_on, dry_run)

    def _run(
        self, directory: TableDirectory, may_go_on: Callable[[], bool], dry_run: bool
    ) -> Collected:
        begun_s = self._clock.wall_s()
        listed = directory.files()
        # Loaded afterwards: what was committed meanwhile is named, or is not in the list.
        head = self._table.head()
        snapshot = head.handle.current_snapshot()
        if snapshot is None or head.marker is None:
            return Collected(refused="it has no marker, so nobody knows which files are still open")
        named = self._named(directory, head.handle)
        self._check_listing(directory, head.handle, listed, begun_s)
        found = unneeded(listed, named)
        ledger = directory.ledger()
        unknown = [f.name for f in found if f.kind is Kind.DATA and f.name not in ledger]
        lowest: dict[str, Lowest] = {}
        for name in islice(unknown, _LOOKED_AT_MAX):
            lowest[name] = directory.lowest(name)
        rules = Rules(
            now_s=self._clock.wall_s(),
            head_s=snapshot.timestamp_ms / 1000,
            commit_within_s=self._times.commit_within_s,
            grace_s=self._times.grace_s,
            next=head.marker.next,
        )
        verdict = judge(found, lowest, ledger, rules)
        removed = list(verdict.ready)
        if not dry_run:
            if verdict.seen_s != ledger:
                directory.note(verdict.seen_s)
            removed = list(_removed(directory, verdict.ready, may_go_on))
        return Collected(
            len(removed),
            sum(f.size_bytes for f in removed),
            len(verdict.waiting) + len(verdict.ready) - len(removed),
            len(verdict.open),
        )

    def _named(self, directory: TableDirectory, table: Table) -> set[str]:
        """All files that any known snapshot, or the catalog, can lead to."""
        metadata = table.metadata
        locations = [table.metadata_location, *(e.metadata_file for e in metadata.metadata_log)]
        manifests: dict[str, ManifestFile] = {}
        for snapshot in metadata.snapshots:
            locations.append(snapshot.manifest_list)
            manifests |= {m.manifest_path: m for m in snapshot.manifests(table.io)}
        names = {directory.name_of(location) for location in [*locations, *manifests]}
        known, self._manifests = self._manifests, {}
        for path, manifest in manifests.items():
            files = known.get(path)
            if files is None:
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                named = (directory.name_of(e.data_file.file_path) for e in entries)
                files = frozenset(n for n in named if n is not None)
            self._manifests[path] = files
            names |= files
        return {name for name in names if name is not None}

    def _check_listing(
        self, directory: TableDirectory, table: Table, listed: list[StoredFile], begun_s: float
    ) -> None:
        """The list must show what the head needs, or no conclusion from it is safe."""
        head = table.current_snapshot()
        assert head is not None
        needed = {
            n for m in head.manifests(table.io) for n in self._manifests.get(m.manifest_path, ())
        }
        for name in needed - {f.name for f in listed}:
            there = directory.find(name)
            if there is None or there.modified_s < begun_s - 1:
                raise OperatorError(
                    f"files that table {self._table.name} needs are missing from its directory, so "
                    "none is removed from there: see what `highwater verify` says of it"
                )


def _removed(
    directory: TableDirectory, ready: tuple[StoredFile, ...], may_go_on: Callable[[], bool]
) -> Iterator[StoredFile]:
    for file in ready:
        if not may_go_on():
            return
        directory.remove(file.name)
        yield file
