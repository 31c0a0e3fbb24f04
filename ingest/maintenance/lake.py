"""An Iceberg table as its maintenance sees it: live files, new files for old ones."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.manifest import ManifestContent
from pyiceberg.types import TimestamptzType

from contract.errors import OperatorError, UnavailableError
from contract.health import storage_code
from contract.marker import MARKER_KEY
from contract.table import TIMESTAMP
from ingest.iceberg_schema import check_same
from ingest.iceberg_snapshots import ancestors, expirable, summary_of
from ingest.iceberg_table import OUTSIDE, IcebergTable, failure_words
from ingest.maintenance import rewrite
from ingest.maintenance.swap import Gone, Swap, is_swap
from ingest.maintenance.swap import summary_of as swap_summary
from ingest.maintenance.tiers import SETTLED_S, SmallFile
from ingest.parquet_writer import Target
from ingest.ports import CommitOutcome, Committed, Conflict, Head, IdFactory, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from contract.marker import Marker
    from ingest.iceberg_schema import TableShape
    from ingest.maintenance.tiers import Group

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class LiveFiles:
    """The data files of one head. `refused`: why they must stay as they are; else empty."""

    files: tuple[SmallFile, ...] = ()
    by_path: Mapping[str, DataFile] = field(default_factory=dict)
    refused: str = ""


class MaintainedTable:
    """`SwapTable`, and the files. One thread at a time; a sidecar's own `IcebergTable` is another.

    Methods raise UnavailableError where catalog or storage do not do their part.
    """

    def __init__(self, catalog: Catalog, namespace: str, shape: TableShape, ids: IdFactory) -> None:
        self._table = IcebergTable(catalog, namespace, shape, ids)
        self.name = self._table.name
        self._catalog = catalog
        self._shape = shape
        self._ids = ids
        self._misfits: set[str] = set()  # paths of live files that are of another layout

    @property
    def is_alone(self) -> bool:
        """Whether one metadata file names all that is needed of the table's directory."""
        return isinstance(self._catalog, SqlCatalog)

    def load(self) -> Table:
        """The table as it is now."""
        with outside(f"table {self.name} cannot be loaded"):
            try:
                return self._catalog.load_table(self.name)
            except NoSuchTableError as error:
                raise OperatorError(
                    f"there is no table {self.name} in this catalog: name another with --tables, "
                    "--namespace or --catalog-uri, or let `highwater ingest` make it"
                ) from error

    def head(self) -> Head:
        """See `SwapTable`."""
        return self._table.head()

    def expirable(self, head: Head, keep_snapshots: int) -> int:
        """How many snapshots `expire` would forget."""
        return len(expirable(head.handle, keep_snapshots))

    def expire(self, keep_snapshots: int) -> int:
        """See `ingest.ports.Table`."""
        return self._table.expire(keep_snapshots)

    def live(self, head: Head, now_s: float) -> LiveFiles:
        """Its data files, without those of another layout that were met before.

        Raises OperatorError if the table has other columns than its definition.
        """
        table: Table = head.handle
        check_same(self._shape, table.schema(), table.spec(), self.name)
        if not _is_carried(table):
            return LiveFiles(refused="no snapshot has its marker any more; the next flush will")
        snapshot = table.current_snapshot()
        if snapshot is None:
            return LiveFiles()
        ages_s = {s.snapshot_id: now_s - s.timestamp_ms / 1000 for s in table.metadata.snapshots}
        timestamp_id = table.schema().find_field(TIMESTAMP).field_id
        files: list[SmallFile] = []
        by_path: dict[str, DataFile] = {}
        with outside(f"manifests of table {self.name} cannot be read"):
            for manifest in snapshot.manifests(table.io):
                if manifest.content == ManifestContent.DELETES:
                    return LiveFiles(refused="delete files of another tool hide rows in it")
                for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                    file = entry.data_file
                    is_new = ages_s.get(entry.snapshot_id or 0, SETTLED_S) < SETTLED_S
                    by_path[file.file_path] = file
                    if file.spec_id == table.spec().spec_id:
                        files.append(_small(file, timestamp_id, is_new))
        self._misfits &= by_path.keys()
        fitting = (f for f in files if f.path not in self._misfits)
        return LiveFiles(tuple(fitting), by_path)

    def rewrite(
        self, head: Head, live: LiveFiles, group: Group, begun_s: float, pause: Callable[[], None]
    ) -> Swap | None:
        """Write one file for those of the group; None if less than two have the table's layout."""
        target = Target(head.handle, self._shape)
        with outside(f"files of table {self.name} cannot be rewritten"):
            found = [live.by_path[f.path] for f in group.files]
            fitting = [file for file in found if rewrite.fits(file, target)]
            self._misfits |= {f.file_path for f in found} - {f.file_path for f in fitting}
            if len(fitting) < 2:
                return None
            swap_id = self._ids()
            made = rewrite.rewrite(fitting, target, f"{swap_id}-00000.parquet", pause)
        return Swap(swap_id, begun_s, tuple(fitting), (made,))

    def holds(self, head: Head, swap_id: str) -> bool:
        """See `SwapTable`."""
        return any(is_swap(summary_of(s), swap_id) for s in ancestors(head.handle))

    def swap(self, swap: Swap, marker: Marker, expected: Head) -> CommitOutcome | Gone:
        """See `SwapTable`."""
        table: Table = expected.handle
        if not _is_carried(table):
            return Gone()  # forgotten since the files were chosen
        transaction = table.transaction()
        try:
            overwrite = transaction.update_snapshot(
                dict(swap_summary(swap.swap_id, marker))
            ).overwrite()
            for file in swap.replaced:
                overwrite.delete_data_file(file)
            for file in swap.added:
                overwrite.append_data_file(file)
            overwrite.commit()  # stages
        except ValidationException:
            return Gone()
        except OUTSIDE as error:
            return Unavailable(failure_words(error), storage_code(error))
        try:
            transaction.commit_transaction()
        except CommitFailedException:
            return Conflict()
        except Exception as error:  # noqa: BLE001 - whatever it is, it may have arrived
            return Unknown(failure_words(error), storage_code(error))
        return Committed(overwrite.snapshot_id)


@contextmanager
def outside(what: str) -> Iterator[None]:
    """Failures of catalog and storage as UnavailableError."""
    try:
        yield
    except (*OUTSIDE, pa.ArrowException) as error:
        raise UnavailableError(f"{what}: {failure_words(error)}") from error


def _is_carried(table: Table) -> bool:
    """Whether a known snapshot has the marker. A copy in the properties is not made more of it."""
    return any(MARKER_KEY in summary_of(s) for s in ancestors(table))


def _small(file: DataFile, timestamp_id: int, is_new: bool) -> SmallFile:
    return SmallFile(
        path=file.file_path,
        day=file.partition[0],
        rows=file.record_count,
        size_bytes=file.file_size_in_bytes,
        first_s=_seconds(file.lower_bounds, timestamp_id, 0.0),
        last_s=_seconds(file.upper_bounds, timestamp_id, float("inf")),
        is_new=is_new,
    )


def _seconds(bounds: Mapping[int, bytes] | None, field_id: int, unknown_s: float) -> float:
    value = (bounds or {}).get(field_id)
    return unknown_s if value is None else int(from_bytes(TimestamptzType(), value)) / _US
