"""The tables as they lie in catalog and storage. Reads only, and no code of sidecar or server."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, RESTError
from pyiceberg.manifest import DataFileContent, ManifestEntryStatus
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import OperatorError, UnavailableError
from contract.marker import MARKER_KEY
from contract.table import OFFSET, PARTITION
from highwater.verify.facts import Commit, FileEntry, FileFacts, RowGroup, Span, TableFacts
from highwater.verify.fields import FieldError, TableFields, read_as
from highwater.verify.stored import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import ManifestEntry, ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from contract.settings import CommonSettings
    from highwater.verify.strips import Strip

_LOG = logging.getLogger(__name__)
_CATALOG_NAME = "highwater"
_SQLITE = "sqlite:///"


@contextmanager
def opened_catalog(settings: CommonSettings) -> Iterator[Catalog]:
    """The catalog of these settings; nothing is made in it.

    Raises:
        OperatorError: there is none. UnavailableError: it does not answer.
    """
    uri = settings.catalog_uri
    if uri.startswith(_SQLITE):
        file = Path(uri.removeprefix(_SQLITE).partition("?")[0])
        if not file.is_file():
            raise OperatorError(
                f"there is no catalog file {file.name} in the data directory: name it with "
                "--data-dir or --catalog-uri, or start `highwater ingest` first"
            )
    properties = {
        "type": "sql",
        "uri": uri,
        "warehouse": settings.warehouse,
        **settings.catalog_properties,
        "init_catalog_tables": "false",
    }
    with outside("the catalog cannot be opened"):
        catalog = load_catalog(_CATALOG_NAME, **properties)
    try:
        yield catalog
    finally:
        catalog.close()


@contextmanager
def outside(what: str) -> Iterator[None]:
    """Failures of catalog and storage as UnavailableError."""
    try:
        yield
    except (OSError, SQLAlchemyError, RESTError) as error:
        first = str(error).partition("\n")[0]
        raise UnavailableError(f"{what}: {type(error).__name__}: {first}") from error


class PinnedTable:
    """One table at the snapshot that was its newest when this was made."""

    def __init__(self, catalog: Catalog, name: str) -> None:
        """Raises OperatorError if there is no such table."""
        self._catalog = catalog
        self.name = name
        self._table = self._load()
        self._location = self._table.location().rstrip("/") + "/"
        self._current = self._table.current_snapshot()
        self._ancestry = list(self._ancestors())
        self._manifests: dict[str, list[ManifestEntry]] = {}
        self._fields = TableFields(self._table, name)

    def _load(self) -> Table:
        with outside(f"table {self.name} cannot be loaded"):
            try:
                return self._catalog.load_table(self.name)
            except (NoSuchTableError, NoSuchNamespaceError) as error:
                raise OperatorError(
                    f"there is no table {self.name} in this catalog: name another with --tables, "
                    "--namespace or --catalog-uri, or let `highwater ingest` make it"
                ) from error

    def facts(self) -> TableFacts:
        """What metadata and manifests say."""
        metadata = self._table.metadata
        entries: tuple[FileEntry, ...] = ()
        problem = ""
        try:
            if self._current is not None:
                entries = tuple(self._entries(self._current))
        except (OSError, ValueError) as error:
            problem = type(error).__name__
        summaries = [_summary(s) for s in metadata.snapshots]
        return TableFacts(
            table=self.name,
            commits=tuple(self._commit(s) for s in self._ancestry),
            properties=self._table.properties,
            entries=entries,
            manifests_problem=problem,
            known_markers=tuple(s[MARKER_KEY] for s in summaries if MARKER_KEY in s),
        )

    def is_expired(self) -> bool:
        """Whether the catalog has forgotten the pinned snapshot since."""
        pinned = self._current
        known = {s.snapshot_id for s in self._load().metadata.snapshots}
        return pinned is not None and pinned.snapshot_id not in known

    def inspect(self, index: int, entry: FileEntry) -> FileFacts:
        """Open the file of this entry: size, footer, fields, and where its offsets lie."""
        source = self._table.io.new_input(entry.path)
        try:
            size_bytes = len(source)
        except OSError:
            return FileFacts()
        try:
            with source.open() as stream:
                return self._inspect(index, stream, size_bytes)
        except FieldError as error:
            return FileFacts(size_bytes, problem=str(error), problem_check="files.own")
        except (pa.ArrowException, OSError, ValueError) as error:
            text = f"the file cannot be read as Parquet ({type(error).__name__}): restore it"
            return FileFacts(size_bytes, problem=text, problem_check="files.readable")

    def _inspect(self, index: int, stream: Any, size_bytes: int) -> FileFacts:
        file = pq.ParquetFile(stream)
        columns = self._fields.columns(file.schema_arrow)
        wanted = [columns[PARTITION], columns[OFFSET]]
        digest = hashlib.blake2b(digest_size=16)
        groups, disorder = [], None
        last: dict[int, int] = {}
        for number in range(file.num_row_groups):
            read = file.read_row_group(number, columns=wanted)
            partitions, offsets = (read.column(name).to_numpy() for name in wanted)
            digest.update(np.ascontiguousarray(partitions).tobytes())
            digest.update(np.ascontiguousarray(offsets).tobytes())
            spans, wrong = _spans(partitions, offsets, last)
            groups.append(RowGroup(index, number, spans))
            disorder = disorder or wrong
        rows = file.metadata.num_rows
        return FileFacts(
            size_bytes, rows, groups=tuple(groups), disorder=disorder, digest=digest.digest()
        )

    def read(
        self,
        groups: Sequence[RowGroup],
        entries: Sequence[FileEntry],
        schema: pa.Schema,
        strip: Strip,
    ) -> pa.Table:
        """The rows of a strip in the columns of `schema`, and FILE; in no order."""
        parts = [pa.schema([*schema, pa.field(FILE, pa.int32())]).empty_table()]
        with outside(f"files of table {self.name} cannot be read"):
            for group in groups:
                with self._table.io.new_input(entries[group.file].path).open() as stream:
                    file = pq.ParquetFile(stream)
                    columns = self._fields.columns(file.schema_arrow)
                    rows = read_as(file, group.group, columns, schema)
                rows = rows.filter(pa.array(_inside(rows, strip)))
                number = pa.array(np.full(rows.num_rows, group.file, np.int32))
                parts.append(rows.append_column(pa.field(FILE, pa.int32()), number))
        return pa.concat_tables(parts)

    def _ancestors(self) -> Iterator[Snapshot]:
        snapshot = self._current
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parent_snapshot_id
            snapshot = self._table.snapshot_by_id(parent) if parent is not None else None

    def _entries(self, snapshot: Snapshot) -> Iterator[FileEntry]:
        for manifest in snapshot.manifests(self._table.io):
            for entry in self._read(manifest):
                if entry.status == ManifestEntryStatus.DELETED:
                    continue
                path = entry.data_file.file_path
                yield FileEntry(
                    path=path,
                    name=path.removeprefix(self._location),
                    inside=path.startswith(self._location) or self._elsewhere(path),
                    added_by=entry.snapshot_id or 0,
                    sequence=entry.sequence_number or 0,
                    size_bytes=entry.data_file.file_size_in_bytes,
                    rows=entry.data_file.record_count,
                    is_deletes=entry.data_file.content != DataFileContent.DATA,
                )

    def _elsewhere(self, path: str) -> bool:
        """Whether the table's properties send its files to where this one lies."""
        data_path = self._table.properties.get("write.data.path")
        return data_path is not None and path.startswith(data_path.rstrip("/") + "/")

    def _commit(self, snapshot: Snapshot) -> Commit:
        changed: tuple[int, int] | None = None
        try:
            changed = self._changed(snapshot)
        except (OSError, ValueError):  # an old manifest is gone: nothing that is live needs it
            _LOG.debug("table %s: snapshot %d cannot be read", self.name, snapshot.snapshot_id)
        operation = snapshot.summary.operation.value if snapshot.summary else "unknown"
        return Commit(
            snapshot.snapshot_id,
            snapshot.sequence_number or 0,
            operation,
            _summary(snapshot),
            *(changed or (None, None)),
        )

    def _changed(self, snapshot: Snapshot) -> tuple[int, int]:
        """Rows of the data files that this snapshot has added, and of those it has removed."""
        added = removed = 0
        for manifest in snapshot.manifests(self._table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in self._read(manifest):
                if entry.snapshot_id != snapshot.snapshot_id:
                    continue
                if entry.data_file.content != DataFileContent.DATA:
                    continue
                rows = entry.data_file.record_count
                added += rows if entry.status == ManifestEntryStatus.ADDED else 0
                removed += rows if entry.status == ManifestEntryStatus.DELETED else 0
        return added, removed

    def _read(self, manifest: ManifestFile) -> list[ManifestEntry]:
        path = manifest.manifest_path
        if path not in self._manifests:
            found = manifest.fetch_manifest_entry(self._table.io, discard_deleted=False)
            self._manifests[path] = found
        return self._manifests[path]


def _summary(snapshot: Snapshot) -> dict[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}


def _spans(
    partitions: NDArray[np.int32], offsets: NDArray[np.int64], last: dict[int, int]
) -> tuple[dict[int, Span], tuple[int, int] | None]:
    """Where each partition's offsets lie, and the first one that is out of order.

    `last`: the newest offset of each partition so far in the file; goes on.
    """
    spans: dict[int, Span] = {}
    disorder = None
    for partition in np.unique(partitions).tolist():
        mine = offsets[partitions == partition]
        before = np.concatenate([[last.get(partition, -(2**63))], mine[:-1]])
        back = np.flatnonzero(mine <= before)
        if len(back) and disorder is None:
            disorder = (partition, int(mine[back[0]]))
        last[partition] = int(mine.max())
        spans[partition] = Span(int(mine.min()), int(mine.max()), len(mine))
    return spans, disorder


def _inside(rows: pa.Table, strip: Strip) -> NDArray[np.bool_]:
    partitions, offsets = rows.column(PARTITION).to_numpy(), rows.column(OFFSET).to_numpy()
    inside = np.zeros(rows.num_rows, bool)
    for partition, (start, end) in strip.items():
        inside |= (partitions == partition) & (offsets >= start) & (offsets < end)
    return inside
