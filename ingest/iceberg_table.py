"""The `Table` port over PyIceberg: one loaded snapshot in, one compare-and-set commit out.

The library's fast append checks nothing but the head of the branch, and with its own retries
switched off it reports a lost race instead of putting our rows on top of somebody else's. That,
one assertion per commit, is all that is taken from it; the loop around it is `ingest.commit`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    LessThan,
    Or,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from contract.ancestry import marker_of
from contract.errors import OperatorError, UnavailableError
from contract.health import storage_code
from contract.marker import MARKER_KEY, Marker
from contract.table import OFFSET, PARTITION
from ingest.fsync_io import IO_IMPL
from ingest.iceberg_schema import (
    PROPERTIES,
    RETRIES,
    TableShape,
    check_same,
    iceberg_schema,
    partition_spec,
)
from ingest.iceberg_snapshots import ancestors, expirable, forget, summary_of
from ingest.parquet_writer import Target, write_files
from ingest.ports import (
    CommitOutcome,
    Committed,
    Conflict,
    Head,
    IdFactory,
    OffsetRange,
    Unavailable,
    Unknown,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from pyiceberg.table import Table as LoadedTable
    from pyiceberg.table.snapshots import Snapshot

    from contract.settings import CommonSettings

CATALOG_NAME = "highwater"
# Their declared arguments are those of the serialised form.
_EQUAL: Any = EqualTo
_AT_LEAST: Any = GreaterThanOrEqual
_BELOW: Any = LessThan
# The catalog or the storage does not do its part.
OUTSIDE = (OSError, SQLAlchemyError, RESTError)


def open_catalog(settings: CommonSettings) -> Catalog:
    """The catalog of these settings, with durable file access."""
    properties = {
        "type": "sql",
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse,
        **settings.catalog_properties,
        "py-io-impl": IO_IMPL,
    }
    with _outside("the catalog cannot be opened"):
        try:
            return load_catalog(CATALOG_NAME, **properties)
        except OperationalError:  # two processes were making the catalog's own tables
            return load_catalog(CATALOG_NAME, **properties)


class IcebergTable:
    """One Iceberg table. `ensure` comes first; one thread at a time."""

    def __init__(self, catalog: Catalog, namespace: str, shape: TableShape, ids: IdFactory) -> None:
        self.name = f"{namespace}.{shape.name}"
        self._catalog = catalog
        self._namespace = namespace
        self._shape = shape
        self._ids = ids

    def ensure(self) -> None:
        """Make the table if there is none; check it and set its properties if there is.

        Raises OperatorError if it has other columns than its definition.
        """
        with _outside(f"table {self.name} cannot be made or opened"):
            table = self._load_or_create()
            check_same(self._shape, table.schema(), table.spec(), self.name)
            wanted = {k: v for k, v in PROPERTIES.items() if table.properties.get(k) != v}
            if wanted:
                with table.transaction() as transaction:
                    transaction.set_properties(wanted)

    def head(self) -> Head:
        """See `Table`."""
        table = self._load()
        if table.properties.get(RETRIES) != "0":
            raise OperatorError(
                f"property {RETRIES} of table {self.name} was changed from 0, which lets an old "
                "sidecar double rows: set it back, or start the sidecar again, which does"
            )
        snapshot = table.current_snapshot()
        return Head(
            snapshot_id=snapshot.snapshot_id if snapshot else None,
            schema_id=table.schema().schema_id,
            marker=self._marker(table),
            holds_rows=_holds_rows(snapshot),
            handle=table,
        )

    def write(self, rows: pa.Table) -> Written:
        """See `Table`. One file per day of the event time."""
        table = self._load()
        with _outside(f"files of table {self.name} cannot be written"):
            files = write_files(rows, Target(table, self._shape), self._ids())
        size_bytes = sum(f.file_size_in_bytes for f in files)
        return Written(rows.num_rows, len(files), size_bytes, tuple(files))

    def commit(self, written: Written, marker: Marker, expected: Head) -> CommitOutcome:
        """See `Table`. Rows, summary and property are one commit of the catalog."""
        table: LoadedTable = expected.handle
        snapshot = table.current_snapshot()
        if (snapshot.snapshot_id if snapshot else None) != expected.snapshot_id:
            return Conflict()  # the library moves a handle along with its own commits
        text = marker.to_json()
        transaction = table.transaction()
        try:
            append = transaction.update_snapshot({MARKER_KEY: text}).merge_append()
            for file in written.handle:
                append.append_data_file(file)
            append.commit()  # stages: the manifests are written, the catalog is not asked
            transaction.set_properties({MARKER_KEY: text})
        except OUTSIDE as error:
            return Unavailable(failure_words(error), storage_code(error))
        try:
            transaction.commit_transaction()
        except CommitFailedException:
            return Conflict()
        except NoSuchTableError as error:
            raise self._gone() from error
        except Exception as error:  # noqa: BLE001 - whatever it is, it may have arrived
            return Unknown(failure_words(error), storage_code(error))
        return Committed(append.snapshot_id)

    def read(self, head: Head, ranges: Sequence[OffsetRange], columns: Sequence[str]) -> pa.Table:
        """See `Table`."""
        table: LoadedTable = head.handle
        with _outside(f"rows of table {self.name} cannot be read"):
            scan = table.scan(
                row_filter=_any_of(ranges),
                selected_fields=tuple({*columns, PARTITION, OFFSET}),
                snapshot_id=head.snapshot_id,
            )
            found = scan.to_arrow()
        ordered = found.sort_by([(PARTITION, "ascending"), (OFFSET, "ascending")])
        return ordered.select(columns)

    def expire(self, keep_snapshots: int) -> int:
        """See `Table`."""
        table = self._load()
        with _outside(f"snapshots of table {self.name} cannot be expired"):
            try:
                return forget(table, expirable(table, keep_snapshots))
            except CommitFailedException as error:
                raise UnavailableError("another commit came first") from error

    def _load(self) -> LoadedTable:
        with _outside(f"table {self.name} cannot be loaded"):
            try:
                return self._catalog.load_table(self.name)
            except NoSuchTableError as error:
                raise self._gone() from error

    def _load_or_create(self) -> LoadedTable:
        try:
            return self._catalog.load_table(self.name)
        except NoSuchTableError:
            pass
        schema = iceberg_schema(self._shape)
        try:
            self._catalog.create_namespace_if_not_exists(self._namespace)
            return self._catalog.create_table(
                self.name,
                schema,
                partition_spec=partition_spec(self._shape, schema),
                properties={"format-version": "2", **PROPERTIES},
            )
        except (TableAlreadyExistsError, NamespaceAlreadyExistsError):
            return self._catalog.load_table(self.name)  # another sidecar was faster

    def _marker(self, table: LoadedTable) -> Marker | None:
        line = list(ancestors(table))
        inside = {s.snapshot_id for s in line}
        others = [s for s in table.metadata.snapshots if s.snapshot_id not in inside]
        return marker_of(
            [_told(s) for s in line],
            [_told(s) for s in others],
            table.properties,
            stores_offsets=True,
        )

    def _gone(self) -> OperatorError:
        return OperatorError(
            f"table {self.name} was dropped while the sidecar ran: start it again to fill a new one"
        )


class _Told(NamedTuple):
    """`Commit` of `contract.ancestry`."""

    sequence_number: int
    summary: Mapping[str, str]


def _told(snapshot: Snapshot) -> _Told:
    return _Told(snapshot.sequence_number or 0, summary_of(snapshot))


def _holds_rows(snapshot: Snapshot | None) -> bool:
    """True if it is unknown."""
    return snapshot is not None and summary_of(snapshot).get("total-records") != "0"


def _any_of(ranges: Sequence[OffsetRange]) -> BooleanExpression:
    parts: list[BooleanExpression] = [
        And(
            _EQUAL(PARTITION, r.partition),
            _AT_LEAST(OFFSET, r.from_offset),
            _BELOW(OFFSET, r.to_offset),
        )
        for r in ranges
    ]
    return parts[0] if len(parts) == 1 else Or(*parts)


@contextmanager
def _outside(what: str) -> Iterator[None]:
    """Failures of catalog and storage as UnavailableError."""
    try:
        yield
    except OUTSIDE as error:
        raise UnavailableError(f"{what}: {failure_words(error)}") from error


def failure_words(error: Any) -> str:
    """The kind of a failure and the first line of its text."""
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}"
