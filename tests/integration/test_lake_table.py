"""A watched Iceberg table: files, bounds, markers, refusals, failures."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionConfig, SessionContext
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestFile
from pyiceberg.types import LongType, StringType

from contract.errors import OperatorError, UnavailableError
from contract.marker import MARKER_KEY
from contract.table import PROVENANCE_FIELDS
from flight_server.lake.paths import local_path
from flight_server.lake.scan import LakeScan, with_scan_settings
from flight_server.lake.table import LakeTable
from flight_server.lake.verify import LocalFileCheck, verify_files
from tests.support.lake_tables import (
    WIDE_SCHEMA,
    a_marker,
    append,
    create_table,
    lake_catalog,
    wide_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table

    from flight_server.lake.snapshot import LakeSnapshot

NAME = "public.trades"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    with lake_catalog(tmp_path) as opened:
        yield opened


def ids_of(snapshot: LakeSnapshot, scratch_dir: Path) -> list[int]:
    ctx = SessionContext(with_scan_settings(SessionConfig()))
    frame = LakeScan(ctx, snapshot.arrow_schema, scratch_dir).frame("t#1", snapshot.files)
    verify_files(snapshot.files, LocalFileCheck())
    return sorted(frame.select("id").to_arrow_table()["id"].to_pylist())


def some_rows(first_id: int, count: int = 4) -> pa.Table:
    return wide_rows(random.Random(first_id), first_id, count)


def compact(table: Table) -> None:
    """All data files replaced by one, in a commit without a marker."""
    rows = table.scan().to_arrow()
    table.overwrite(rows)


def expire(table: Table, *snapshot_ids: int) -> None:
    table.maintenance.expire_snapshots().by_ids(list(snapshot_ids)).commit()


def test_a_table_without_commits_has_no_files_and_no_marker(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    create_table(catalog)

    snapshot = LakeTable(catalog, NAME).refresh()

    assert (snapshot.snapshot_id, snapshot.marker, snapshot.refused) == (None, None, None)
    assert (len(snapshot.files), snapshot.rows) == (0, 0)
    assert ids_of(snapshot, tmp_path) == []


def test_each_commit_is_seen_and_an_idle_table_gives_the_same_object(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    table = create_table(catalog)
    lake = LakeTable(catalog, NAME)
    append(table, some_rows(0), a_marker("c1", 4))

    first = lake.refresh()
    again = lake.refresh()
    append(table, some_rows(4), a_marker("c2", 8))
    second = lake.refresh()

    assert again is first
    assert (first.commit_id, second.commit_id) == ("c1", "c2")
    assert second.parent_id == first.snapshot_id
    assert second.marker is not None
    assert second.marker.next == {0: (8, 8, 8)}
    assert (first.rows, second.rows) == (4, 8)
    assert ids_of(first, tmp_path) == list(range(4)), "a pinned snapshot stays as it was"
    assert ids_of(second, tmp_path) == list(range(8))
    assert [s.snapshot_id for s in second.ancestry] == [second.snapshot_id, first.snapshot_id]


def test_the_bounds_enclose_the_rows_of_each_file(catalog: SqlCatalog) -> None:
    table = create_table(catalog)
    batches = [some_rows(i * 50, 50) for i in range(3)]
    for rows in batches:
        append(table, rows)

    files = LakeTable(catalog, NAME).refresh().files

    by_first_id = {b.lower[i].as_py(): i for i in range(3) if (b := files.bounds("id"))}
    for name in ("id", "small", "price", "symbol", "at", "local_at", "day"):
        bounds = files.bounds(name)
        assert bounds is not None
        assert bounds.lower.type == WIDE_SCHEMA.field(name).type
        for rows in batches:
            at = by_first_id[rows["id"][0].as_py()]
            low, high = pc.min_max(rows[name]).as_py().values()
            assert bounds.lower[at].as_py() <= low
            assert bounds.upper[at].as_py() >= high
            assert bounds.null_count[at].as_py() == rows[name].null_count
    assert files.bounds("tags") is None
    assert files.bounds("raw") is None


@pytest.mark.parametrize("warehouse", ["100%/a b", "p+q=r", "ünï-日本", "50%2F"])
def test_a_warehouse_may_have_a_strange_name(tmp_path: Path, warehouse: str) -> None:
    with lake_catalog(tmp_path, warehouse) as catalog:
        append(create_table(catalog), some_rows(0))

        snapshot = LakeTable(catalog, NAME).refresh()

        assert ids_of(snapshot, tmp_path) == [0, 1, 2, 3]


def test_partition_values_with_special_characters_are_found(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    values = ["BTC/USD", "100%", "a b", "x=y", "p+q", "ü", "%2F", "a#b", "q?", ""]
    schema = pa.schema([("id", pa.int64()), ("symbol", pa.string())])
    table = create_table(catalog, schema=schema)
    with table.update_spec() as spec:
        spec.add_identity("symbol")
    table.append(pa.table({"id": range(len(values)), "symbol": values}, schema=schema))

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.refused is None
    assert len(snapshot.files) == len(values)
    assert ids_of(snapshot, tmp_path) == list(range(len(values)))


def test_a_compaction_and_a_foreign_append_keep_the_marker_before_them(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    table = create_table(catalog)
    append(table, some_rows(0), a_marker("c1", 4))
    append(table, some_rows(4), a_marker("c2", 8))
    compact(table)
    append(table, some_rows(8))

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.commit_id == "c2"
    assert len(snapshot.files) == 2
    assert ids_of(snapshot, tmp_path) == list(range(12))


def test_the_property_stands_in_for_an_expired_marker(catalog: SqlCatalog) -> None:
    table = create_table(catalog)
    append(table, some_rows(0), a_marker("c1", 4))
    carrier = table.current_snapshot()
    append(table, some_rows(4))
    assert carrier is not None
    expire(table, carrier.snapshot_id)

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.commit_id == "c1"
    assert snapshot.rows == 8


def test_an_expired_marker_without_a_property_is_for_the_operator(catalog: SqlCatalog) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), *PROVENANCE_FIELDS])
    rows = pa.Table.from_pylist([{"id": 1, "_partition": 0, "_offset": 0, "_timestamp": 0}], schema)
    table = create_table(catalog, schema=schema)
    append(table, rows, a_marker("c1", 1))
    carrier = table.current_snapshot()
    with table.transaction() as transaction:
        transaction.remove_properties(MARKER_KEY)
    append(table, rows)
    assert carrier is not None
    expire(table, carrier.snapshot_id)

    with pytest.raises(OperatorError, match="older snapshots were expired"):
        LakeTable(catalog, NAME).refresh()


def roll_back(table: Table, snapshot_id: int) -> None:
    table.manage_snapshots().set_current_snapshot(snapshot_id=snapshot_id).commit()


def test_after_a_rollback_the_summary_wins_over_the_property(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    table = create_table(catalog)
    append(table, some_rows(0), a_marker("c1", 4))
    older = table.current_snapshot()
    append(table, some_rows(4), a_marker("c2", 8))
    assert older is not None
    roll_back(table, older.snapshot_id)

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.commit_id == "c1"
    assert ids_of(snapshot, tmp_path) == [0, 1, 2, 3]


def test_a_property_that_no_known_snapshot_explains_is_for_the_operator(
    catalog: SqlCatalog,
) -> None:
    table = create_table(catalog)
    append(table, some_rows(0), a_marker("c1", 4))
    with table.transaction() as transaction:
        transaction.set_properties({MARKER_KEY: a_marker("c9", 99).to_json()})

    with pytest.raises(OperatorError, match="ahead of the snapshot's own marker"):
        LakeTable(catalog, NAME).refresh()


def test_a_marker_of_a_newer_format_is_for_the_operator(catalog: SqlCatalog) -> None:
    table = create_table(catalog)
    table.append(some_rows(0), snapshot_properties={MARKER_KEY: '{"format": 99}'})

    with pytest.raises(OperatorError, match="format 99"):
        LakeTable(catalog, NAME).refresh()


def test_a_missing_table_is_awaited_and_a_dropped_one_is_for_the_operator(
    catalog: SqlCatalog,
) -> None:
    lake = LakeTable(catalog, NAME)
    with pytest.raises(UnavailableError, match="start the ingest"):
        lake.refresh()
    create_table(catalog)
    lake.refresh()

    catalog.drop_table(NAME)
    with pytest.raises(OperatorError, match="was dropped from the catalog"):
        lake.refresh()
    create_table(catalog)
    with pytest.raises(OperatorError, match="created again"):
        lake.refresh()


@pytest.mark.parametrize("ending", ["*.metadata.json", "snap-*.avro", "*-m0.avro"])
def test_missing_metadata_is_an_error_and_the_next_refresh_tries_again(
    catalog: SqlCatalog, tmp_path: Path, ending: str
) -> None:
    table = create_table(catalog)
    lake = LakeTable(catalog, NAME)
    before = lake.refresh()
    append(table, some_rows(0))
    hidden = {
        f: f.with_suffix(".away") for f in (tmp_path / "warehouse").rglob(ending) if f.is_file()
    }
    for file, away in hidden.items():
        file.rename(away)

    with pytest.raises(UnavailableError, match="did not answer") as error:
        lake.refresh()

    assert str(tmp_path) not in str(error.value)
    for file, away in hidden.items():
        away.rename(file)
    after = lake.refresh()
    assert after is not before
    assert after.rows == 4


@pytest.mark.parametrize("ending", ["*.metadata.json", "snap-*.avro", "*-m0.avro"])
def test_broken_metadata_is_for_the_operator(
    catalog: SqlCatalog, tmp_path: Path, ending: str
) -> None:
    append(create_table(catalog), some_rows(0))
    for file in (tmp_path / "warehouse").rglob(ending):
        file.write_bytes(b"{" + bytes(100))

    with pytest.raises(OperatorError, match="cannot be read") as error:
        LakeTable(catalog, NAME).refresh()

    assert str(tmp_path) not in str(error.value)


def test_a_truncated_data_file_is_noticed(catalog: SqlCatalog) -> None:
    append(create_table(catalog), some_rows(0))
    files = LakeTable(catalog, NAME).refresh().files
    verify_files(files, LocalFileCheck())
    path = Path(local_path(files.paths[0].as_py()) or "")

    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(UnavailableError, match="1 of 1 data files"):
        verify_files(files, LocalFileCheck())


def test_added_and_widened_columns_are_read_by_name(catalog: SqlCatalog, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int32())])
    table = create_table(catalog, schema=schema)
    table.append(pa.table({"id": [1, 2]}, schema=schema))
    with table.update_schema() as update:
        update.update_column("id", field_type=LongType())
        update.add_column("note", StringType())
    wider = pa.schema([("id", pa.int64()), ("note", pa.string())])
    table.append(pa.table({"id": [2**40], "note": ["x"]}, schema=wider))

    snapshot = LakeTable(catalog, NAME).refresh()

    bounds = snapshot.files.bounds("id")
    assert bounds is not None
    assert sorted(bounds.upper.to_pylist()) == [2, 2**40]
    assert ids_of(snapshot, tmp_path) == [1, 2, 2**40]


def _rename(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column("symbol", "ticker")


def _reuse_a_name(table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("symbol")
    with table.update_schema() as update:
        update.add_column("symbol", StringType())


def _add_inside_a_struct(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column(("inner", "second"), StringType())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_rename, "'ticker' was once called 'symbol'"),
        (_reuse_a_name, "'symbol' once belonged to another column"),
        (_add_inside_a_struct, "inside its column 'inner' was changed"),
    ],
)
def test_a_schema_that_cannot_be_read_by_name_is_refused(
    catalog: SqlCatalog, change: Any, reason: str
) -> None:
    inner = pa.struct([("first", pa.string())])
    schema = pa.schema([("id", pa.int64()), ("symbol", pa.string()), ("inner", inner)])
    table = create_table(catalog, schema=schema)
    append(
        table,
        pa.table({"id": [1], "symbol": ["x"], "inner": [{"first": "y"}]}, schema=schema),
        a_marker("c1"),
    )
    change(table)

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.refused is not None
    assert reason in snapshot.refused
    assert len(snapshot.files) == 0
    assert snapshot.commit_id == "c1", "the marker is known all the same"


def test_a_type_that_the_engine_does_not_read_is_refused(catalog: SqlCatalog) -> None:
    create_table(catalog, schema=pa.schema([("id", pa.int64()), ("digest", pa.binary(16))]))

    refused = LakeTable(catalog, NAME).refresh().refused

    assert refused is not None
    assert "'digest'" in refused


def test_a_manifest_of_delete_files_is_refused(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyIceberg cannot write delete files, so the content flag of a real manifest is changed."""
    append(create_table(catalog), some_rows(0))
    monkeypatch.setattr(ManifestFile, "content", property(lambda _: ManifestContent.DELETES))

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.refused is not None
    assert "delete files" in snapshot.refused
    assert len(snapshot.files) == 0


def test_a_delete_file_inside_a_data_manifest_is_refused(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(create_table(catalog), some_rows(0))
    monkeypatch.setattr(DataFile, "content", property(lambda _: DataFileContent.POSITION_DELETES))

    assert "delete file" in (LakeTable(catalog, NAME).refresh().refused or "")


def test_deleted_rows_of_a_copy_on_write_are_gone(catalog: SqlCatalog, tmp_path: Path) -> None:
    table = create_table(catalog)
    append(table, some_rows(0), a_marker("c1"))
    table.delete("id = 2")

    snapshot = LakeTable(catalog, NAME).refresh()

    assert snapshot.commit_id == "c1"
    assert ids_of(snapshot, tmp_path) == [0, 1, 3]


def test_a_file_without_its_identity_partition_column_is_refused(catalog: SqlCatalog) -> None:
    """Columns of imported files may stand in their path alone; without metrics nobody knows."""
    schema = pa.schema([("id", pa.int64()), ("symbol", pa.string())])
    table = create_table(
        catalog, schema=schema, properties={"write.metadata.metrics.default": "none"}
    )
    with table.update_spec() as spec:
        spec.add_identity("symbol")
    table.append(pa.table({"id": [1], "symbol": ["x"]}, schema=schema))

    assert "partition value" in (LakeTable(catalog, NAME).refresh().refused or "")


def test_a_small_manifest_cache_changes_nothing_but_time(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    table = create_table(catalog)
    lake = LakeTable(catalog, NAME, manifest_cache_bytes_max=1)
    for i in range(5):
        append(table, some_rows(4 * i))
        snapshot = lake.refresh()

        assert ids_of(snapshot, tmp_path) == list(range(4 * i + 4))
