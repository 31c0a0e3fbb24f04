"""The engine's scan over exactly the given files: types, names of files, missing files."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionConfig, SessionContext, Table
from datafusion.catalog import SchemaProvider

from contract.definition import load_definition
from contract.errors import BugError, UnavailableError
from flight_server.lake.paths import url_of
from flight_server.lake.scan import LakeScan, with_scan_settings
from flight_server.lake.snapshot import DataFiles
from flight_server.lake.table import LakeTable
from flight_server.lake.types import scan_schema
from flight_server.lake.verify import LocalFileCheck, verify_files
from tests.support.lake_tables import WIDE_SCHEMA, create_table, lake_catalog, wide_rows

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    "plain.parquet",
    "with space.parquet",
    "day=2024-01-01/sym=BTC%2FUSD.parquet",
    "100%.parquet",
    "a+b=c&d;e.parquet",
    "ünï-日本.parquet",
    "star*[x]{a,b}?.parquet",
    "hash#a.parquet",
    "no extension",
    "UPPER.PARQUET",
    "quote'\"`.parquet",
    "back\\slash.parquet",
]


def a_session() -> SessionContext:
    return SessionContext(with_scan_settings(SessionConfig()))


def written_files(folder: Path, names: list[str], rows: pa.Table) -> DataFiles:
    paths = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)
        paths.append(str(path))
    return DataFiles.of(
        paths,
        [url_of(p) for p in paths],
        [rows.num_rows] * len(paths),
        [(folder / n).stat().st_size for n in names],
        {},
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_found_under_every_allowed_name(tmp_path: Path, name: str) -> None:
    rows = wide_rows(random.Random(1), 0, 7)
    files = written_files(tmp_path / "data", [name], rows)
    scan = LakeScan(a_session(), WIDE_SCHEMA, tmp_path / "scratch")

    frame = scan.frame("trades#1", files)

    assert frame.count() == 7
    assert sorted(frame.to_arrow_table()["id"].to_pylist()) == list(range(7))
    verify_files(files, LocalFileCheck())


def test_a_scan_yields_the_types_that_scan_schema_promises(tmp_path: Path) -> None:
    definition = load_definition("trades")
    with lake_catalog(tmp_path) as catalog:
        table = create_table(catalog, schema=definition.stored_schema)
        columns = [pa.array([None, None], f.type) for f in definition.stored_schema]
        for i, f in enumerate(definition.stored_schema):
            if not f.nullable:
                columns[i] = pa.array([_some(f.type)] * 2, f.type)
            elif pa.types.is_list(f.type):
                columns[i] = pa.array([["a", None], None], f.type)
            elif pa.types.is_map(f.type):
                columns[i] = pa.array([[("k", "v")], None], f.type)
        rows = pa.table(columns, schema=definition.stored_schema)
        table.append(rows)
        snapshot = LakeTable(catalog, "public.trades").refresh()
        scan = LakeScan(a_session(), snapshot.arrow_schema, tmp_path / "scratch")

        frame = scan.frame("trades#1", snapshot.files)
        batches = frame.collect()

        expected = scan_schema(definition.stored_schema)
        assert snapshot.arrow_schema.equals(expected, check_metadata=True)
        assert frame.schema().equals(expected)
        assert all(b.schema.equals(expected) for b in batches)
        got = pa.Table.from_batches(batches)
        assert got.to_pylist() == rows.to_pylist()


def _some(kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return ["a", "b"]
    if pa.types.is_map(kind):
        return [("k", "v")]
    if pa.types.is_string(kind):
        return "x"
    return pa.scalar(1).cast(kind).as_py() if not pa.types.is_decimal(kind) else 1


def test_lake_and_tail_of_scan_schema_unite_without_a_cast(tmp_path: Path) -> None:
    rows = wide_rows(random.Random(2), 0, 20)
    ctx = a_session()
    scan = LakeScan(ctx, WIDE_SCHEMA, tmp_path / "scratch")
    tail = rows.cast(scan.schema).to_batches()
    files = written_files(tmp_path / "data", ["a.parquet"], rows)

    both = scan.frame("trades#1", files).union(ctx.read_batches(tail))

    assert "CAST" not in both.execution_plan().display_indent()
    assert both.count() == 40
    assert both.schema().equals(scan.schema)


def test_no_files_are_a_scan_without_rows(tmp_path: Path) -> None:
    scan = LakeScan(a_session(), WIDE_SCHEMA, tmp_path / "scratch")

    frame = scan.frame("trades#1", DataFiles.empty())

    assert frame.count() == 0
    assert frame.schema().equals(scan.schema)


def test_a_scan_is_made_inside_a_schema_provider_and_carries_its_name(tmp_path: Path) -> None:
    """Nothing in frame() may block there: the engine would panic."""
    rows = wide_rows(random.Random(3), 0, 5)
    files = written_files(tmp_path / "data", ["a.parquet"], rows)
    ctx = a_session()
    scan = LakeScan(ctx, WIDE_SCHEMA, tmp_path / "scratch")

    class Provider(SchemaProvider):
        def owner_name(self) -> str | None:
            return None

        # The engine wants a value here, although the base class shows a method.
        table_names = frozenset({"trades"})  # type: ignore[assignment]

        def table(self, name: str) -> Table:
            return Table(scan.frame(f"{name}#1", files))

        def table_exist(self, name: str) -> bool:
            return name == "trades"

    ctx.catalog().register_schema("live", Provider())

    frame = ctx.sql("SELECT count(*) AS n FROM live.trades WHERE id >= 2")

    assert frame.to_pydict() == {"n": [3]}
    assert "TableScan: trades#1" in frame.optimized_logical_plan().display_indent()


def test_older_files_are_read_with_the_schema_of_today(tmp_path: Path) -> None:
    old = pa.table({"b": pa.array([1, 2], pa.int32()), "gone": ["x", "y"]})
    files = written_files(tmp_path / "data", ["old.parquet"], old)
    today = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.list_(pa.string()))])
    scan = LakeScan(a_session(), today, tmp_path / "scratch")

    got = scan.frame("t", files).to_arrow_table().to_pylist()

    assert got == [{"a": None, "b": 1, "c": None}, {"a": None, "b": 2, "c": None}]


def test_scans_can_be_made_by_many_threads_at_once(tmp_path: Path) -> None:
    rows = wide_rows(random.Random(4), 0, 11)
    files = written_files(tmp_path / "data", ["a.parquet", "b.parquet"], rows)
    scan = LakeScan(a_session(), WIDE_SCHEMA, tmp_path / "scratch")
    counts: list[int] = []

    def count() -> None:
        counts.extend(scan.frame("t#1", files).count() for _ in range(10))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [22] * 40


def test_a_scan_name_that_plans_could_not_show_is_a_bug(tmp_path: Path) -> None:
    scan = LakeScan(a_session(), WIDE_SCHEMA, tmp_path / "scratch")

    with pytest.raises(BugError):
        scan.frame("two words", DataFiles.empty())


def test_a_missing_file_is_an_error_and_not_fewer_rows(tmp_path: Path) -> None:
    rows = wide_rows(random.Random(5), 0, 5)
    files = written_files(tmp_path / "data", ["a.parquet", "b.parquet"], rows)
    scan = LakeScan(a_session(), WIDE_SCHEMA, tmp_path / "scratch")
    (tmp_path / "data" / "b.parquet").unlink()

    skipped_by_the_engine = scan.frame("t", files).count()

    assert skipped_by_the_engine == 5, "the engine tells now; verify_files may go"
    with pytest.raises(UnavailableError, match="1 of 2 data files") as error:
        verify_files(files, LocalFileCheck())
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("change", ["truncated", "longer", "a folder"])
def test_a_changed_file_is_an_error(tmp_path: Path, change: str) -> None:
    files = written_files(tmp_path, ["a.parquet"], wide_rows(random.Random(6), 0, 5))
    path = tmp_path / "a.parquet"
    content = path.read_bytes()
    path.unlink()
    if change == "a folder":
        path.mkdir()
    else:
        path.write_bytes(content[:-1] if change == "truncated" else content + b"x")

    with pytest.raises(UnavailableError, match="missing or changed"):
        verify_files(files, LocalFileCheck())


def test_files_of_an_object_store_need_their_own_check() -> None:
    files = DataFiles.of(["s3://b/a.parquet"], ["s3://b/a.parquet"], [1], [1], {})

    with pytest.raises(BugError):
        verify_files(files, LocalFileCheck())
