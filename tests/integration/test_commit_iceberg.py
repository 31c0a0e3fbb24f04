"""The commit loop and the sidecar's tables on a real catalog with real files."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from typing_extensions import override

from contract.clock import SystemClock
from contract.definition import parse_definition
from contract.errors import OperatorError, UnavailableError
from contract.marker import MARKER_KEY, Marker
from contract.settings import CommonSettings
from contract.table import DEAD_SCHEMA
from highwater.simulate.scheduler import SimulatedCrash
from ingest.backoff import Backoff
from ingest.commit import TableWriter, WriterParts
from ingest.fsync_io import IO_IMPL
from ingest.iceberg_schema import RETRIES, dead_shape, rows_shape
from ingest.iceberg_snapshots import expirable, forget
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.ports import NOTHING_WRITTEN, Committed, Conflict, Head, Unknown
from ingest.stop import Stop
from tests.support.failpoints import CrashAt
from tests.support.sidecar_world import DEFINITION, POISON, TEXT, World, trade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.catalog import Catalog

    from ingest.ports import Table

IDENTIFIER = "public.trades"
MARKER = Marker("trades", "topic-1", 1, "c0", {0: (0, 0, 0)}, {}, 0, 0, 0, 0, 0, "rules")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(CommonSettings(data_dir=tmp_path))
    yield made
    made.close()


@dataclass
class Ids:
    """Unique texts."""

    prefix: str = "id"
    numbers: Iterator[int] = field(default_factory=count)

    def __call__(self) -> str:
        return f"{self.prefix}-{next(self.numbers)}"


def a_table(catalog: Catalog, text: str = TEXT, prefix: str = "file") -> IcebergTable:
    table = IcebergTable(catalog, "public", rows_shape(parse_definition(text, "test")), Ids(prefix))
    table.ensure()
    return table


def rows(*offsets: int, text: str = "x") -> pa.Table:
    made: list[dict[str, Any]] = [
        {"id": f"{text}{o}", "at": o, "price": o, "_partition": 0, "_offset": o, "_timestamp": o}
        for o in offsets
    ]
    return pa.Table.from_pylist(made, schema=DEFINITION.stored_schema)


def a_writer(table: Table, ids: Callable[[], str] | None = None) -> TableWriter:
    stop = Stop(SystemClock(), 30.0)
    parts = WriterParts(
        ids or Ids("commit"), stop, Backoff(Random(3), 0.01, 0.05), lambda _name: None
    )
    return TableWriter(table, "rows", parts)


def claim(writer: TableWriter) -> Marker:
    def make(head: Head) -> Marker:
        return replace(MARKER, epoch=head.marker.epoch + 1) if head.marker else MARKER

    return writer.claim(make)


def append(writer: TableWriter, offset: int) -> Marker:
    written = writer.write(rows(offset))
    return writer.commit(written, replace(writer.marker, next={0: (offset + 1,) * 3}))


def offsets(catalog: Catalog) -> list[int]:
    found = catalog.load_table(IDENTIFIER).scan(selected_fields=("_offset",)).to_arrow()
    return sorted(found.column("_offset").to_pylist())


@dataclass
class IcebergWorld(World):
    """The scripted log, with real tables."""

    catalog: Any = None

    @override
    def rows_table(self) -> Table:
        table = IcebergTable(self.catalog, "public", rows_shape(self.definition), self.next_id)
        table.ensure()
        return table

    @override
    def dead_table(self) -> Table:
        table = IcebergTable(self.catalog, "public", dead_shape(self.definition), self.next_id)
        table.ensure()
        return table

    @override
    def rows_now(self) -> pa.Table:
        return self.catalog.load_table(IDENTIFIER).scan().to_arrow()

    @override
    def dead_now(self) -> pa.Table:
        return self.catalog.load_table(f"{IDENTIFIER}_dead").scan().to_arrow()

    @property
    @override
    def marker(self) -> Marker:
        found = self.rows_table().head().marker
        assert found is not None
        return found


@pytest.mark.parametrize(
    "place",
    [
        "rows.after_write",
        "rows.before_commit",
        "rows.after_commit",
        "dead.after_write",
        "dead.after_commit",
    ],
)
def test_a_crash_in_a_flush_loses_and_doubles_nothing(catalog: Catalog, place: str) -> None:
    world = IcebergWorld(catalog=catalog)
    world.log.append(0, trade("a"), POISON, trade("a"), None, trade("b", 200), trade("c", 1))
    world.sidecar().begin().catch_up()
    world.log.append(0, trade("b", 200), trade("d"), POISON, trade("e"))
    second = world.sidecar(CrashAt(place, 1 if place.endswith("write") else 2))

    with pytest.raises(SimulatedCrash):
        second.begin().catch_up()
    world.sidecar().begin().catch_up()

    world.check()
    assert world.marker.next == {0: (10, 10, 10)}


def test_dead_letters_keep_the_bytes_and_say_why(catalog: Catalog) -> None:
    world = IcebergWorld(catalog=catalog)
    world.log.append(0, replace(POISON, value=b"\xff\x00 broken", key=b"k"))

    world.sidecar().begin().catch_up()

    letter = world.dead_now().to_pylist()[0]
    assert letter["value"] == b"\xff\x00 broken"
    assert letter["key"] == b"k"
    assert letter["topic"] == "trades"
    assert letter["reason"]
    assert world.dead_now().schema.names == DEAD_SCHEMA.names


def test_rows_come_back_from_the_table_as_they_were_decoded(catalog: Catalog) -> None:
    world = IcebergWorld(catalog=catalog)
    world.log.append(0, trade("a", 1), trade("b", 200))

    world.sidecar().begin().catch_up()

    found = world.rows_now().sort_by("_offset")
    assert found.column("id").to_pylist() == ["a", "b"]
    assert found.cast(DEFINITION.stored_schema).schema == DEFINITION.stored_schema


class LossyCatalog(SqlCatalog):
    """A catalog behind a connection that breaks: before or after the commit arrived."""

    lose: str = ""

    @override
    def commit_table(self, *args: Any, **kwargs: Any) -> Any:
        lose, self.lose = self.lose, ""
        if lose == "before":
            raise ConnectionError("scripted: broken before it arrived")
        response = super().commit_table(*args, **kwargs)
        if lose == "after":
            raise ConnectionError("scripted: broken after it arrived")
        return response


@pytest.mark.parametrize("lose", ["before", "after"])
def test_a_lost_answer_neither_loses_nor_doubles_the_rows(
    tmp_path: Path, catalog: Catalog, lose: str
) -> None:
    lossy = LossyCatalog(
        "highwater",
        uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=f"file://{tmp_path}/warehouse",
        **{"py-io-impl": IO_IMPL},
    )
    table = a_table(lossy)
    writer = a_writer(table)
    claim(writer)
    lossy.lose = lose

    append(writer, 0)
    append(writer, 1)

    assert offsets(catalog) == [0, 1]
    lossy.close()


def test_a_lost_answer_is_an_unknown_outcome(tmp_path: Path) -> None:
    lossy = LossyCatalog(
        "highwater", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/warehouse"
    )
    table = a_table(lossy)
    head = table.head()
    lossy.lose = "after"

    assert isinstance(table.commit(NOTHING_WRITTEN, MARKER, head), Unknown)

    assert table.head().marker == MARKER
    lossy.close()


def test_a_catalog_that_is_locked_is_waited_for(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/catalog.db?timeout=0.05"
    catalog = open_catalog(CommonSettings(data_dir=tmp_path, catalog_uri=uri))
    table = a_table(catalog)
    head = table.head()
    lock = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")

    outcome = table.commit(NOTHING_WRITTEN, MARKER, head)
    with pytest.raises(UnavailableError, match="cannot be loaded: OperationalError"):
        table.head()
    lock.execute("ROLLBACK")
    lock.close()

    assert isinstance(outcome, Unknown)
    assert isinstance(table.commit(NOTHING_WRITTEN, MARKER, table.head()), Committed)
    catalog.close()


def test_a_stale_writer_cannot_double_rows(catalog: Catalog) -> None:
    """PyIceberg's default is to repeat the append on top of the other one."""
    first, second = a_table(catalog, prefix="one"), a_table(catalog, prefix="two")
    heads = first.head(), second.head()

    outcomes = [
        first.commit(first.write(rows(0)), MARKER, heads[0]),
        second.commit(second.write(rows(0)), MARKER, heads[1]),
    ]

    assert isinstance(outcomes[0], Committed)
    assert outcomes[1] == Conflict()
    assert offsets(catalog) == [0]


def test_a_table_with_the_librarys_retries_is_not_written(catalog: Catalog) -> None:
    table = a_table(catalog)
    with catalog.load_table(IDENTIFIER).transaction() as transaction:
        transaction.set_properties({RETRIES: "4"})

    with pytest.raises(OperatorError, match=RETRIES):
        table.head()

    table.ensure()
    assert table.head().snapshot_id is None


def test_foreign_appends_and_overwrites_in_between_do_no_harm(catalog: Catalog) -> None:
    writer = a_writer(a_table(catalog))
    claim(writer)
    append(writer, 0)
    loaded = catalog.load_table(IDENTIFIER)
    loaded.append(rows(100))
    loaded.overwrite(rows(0, 100, text="compacted"))  # leaves a delete and an append behind

    append(writer, 1)

    assert offsets(catalog) == [0, 1, 100]


def test_the_marker_survives_an_expiration_below_foreign_commits(catalog: Catalog) -> None:
    table = a_table(catalog)
    writer = a_writer(table)
    claim(writer)
    marker = append(writer, 0)
    loaded = catalog.load_table(IDENTIFIER)
    for i in range(4):
        loaded.append(rows(100 + i))

    with catalog.load_table(IDENTIFIER).transaction() as transaction:
        transaction.remove_properties(MARKER_KEY)

    assert table.expire(2) == 1  # the claim; the marked one and all above it stay

    assert table.head().marker == marker


def test_a_snapshot_with_a_tag_outlives_an_expiry(catalog: Catalog) -> None:
    writer = a_writer(a_table(catalog))
    claim(writer)
    append(writer, 0)
    tagged = catalog.load_table(IDENTIFIER).current_snapshot()
    assert tagged is not None
    manage = catalog.load_table(IDENTIFIER).manage_snapshots()
    manage.create_tag(tagged.snapshot_id, "monday").commit()
    for offset in range(1, 4):
        append(writer, offset)

    assert writer.table.expire(2) == 2

    found = catalog.load_table(IDENTIFIER).scan(snapshot_id=tagged.snapshot_id).to_arrow()
    assert found.num_rows == 1
    assert offsets(catalog) == [0, 1, 2, 3]


def test_an_expiry_is_refused_if_the_table_was_rolled_back_meanwhile(catalog: Catalog) -> None:
    """It would forget the snapshot that has become the head."""
    writer = a_writer(a_table(catalog))
    claim(writer)
    for offset in range(4):
        append(writer, offset)
    loaded = catalog.load_table(IDENTIFIER)
    old = expirable(loaded, 2)
    newest_old = next(s for s in reversed(loaded.snapshots()) if s.snapshot_id in old)
    table = catalog.load_table(IDENTIFIER)
    table.manage_snapshots().rollback_to_snapshot(newest_old.snapshot_id).commit()

    with pytest.raises(CommitFailedException):
        forget(loaded, old)

    assert offsets(catalog) == [0, 1]


def test_the_property_stands_in_when_a_foreign_tool_expired_the_marker(catalog: Catalog) -> None:
    table = a_table(catalog)
    writer = a_writer(table)
    claim(writer)
    marker = append(writer, 0)
    loaded = catalog.load_table(IDENTIFIER)
    loaded.append(rows(100))
    old = [s.snapshot_id for s in loaded.snapshots()[:-1]]
    loaded.maintenance.expire_snapshots().by_ids(old).commit()

    assert table.head().marker == marker

    append(writer, 1)
    assert offsets(catalog) == [0, 1, 100]


def test_after_a_rollback_the_summary_decides(catalog: Catalog) -> None:
    table = a_table(catalog)
    writer = a_writer(table)
    claim(writer)
    kept = append(writer, 0)
    snapshot_id = table.head().snapshot_id
    append(writer, 1)
    assert snapshot_id is not None
    catalog.load_table(IDENTIFIER).manage_snapshots().rollback_to_snapshot(snapshot_id).commit()

    assert table.head().marker == kept

    with pytest.raises(OperatorError, match="changed from outside"):
        append(writer, 2)


def test_the_property_of_a_commit_that_was_rolled_back_does_not_stand_in(catalog: Catalog) -> None:
    """A foreign tool expired what carried the right one: rows would be taken for written."""
    table = a_table(catalog)
    writer = a_writer(table)
    claim(writer)
    snapshot_id = table.head().snapshot_id
    append(writer, 0)
    assert snapshot_id is not None
    loaded = catalog.load_table(IDENTIFIER)
    loaded.manage_snapshots().rollback_to_snapshot(snapshot_id).commit()
    loaded = catalog.load_table(IDENTIFIER)
    loaded.append(rows(100))
    loaded.maintenance.expire_snapshots().by_ids([snapshot_id]).commit()

    with pytest.raises(OperatorError, match="does not hold: roll the table forward"):
        table.head()


def test_a_property_that_no_snapshot_explains_is_refused(catalog: Catalog) -> None:
    table = a_table(catalog)
    claim(a_writer(table))
    strange = replace(MARKER, commit_id="strange", next={0: (9, 9, 9)})
    with catalog.load_table(IDENTIFIER).transaction() as transaction:
        transaction.set_properties({MARKER_KEY: strange.to_json()})

    with pytest.raises(OperatorError, match="no known snapshot explains it"):
        table.head()


def test_a_marker_of_a_newer_format_is_refused(catalog: Catalog) -> None:
    table = a_table(catalog)
    newer = MARKER.to_json().replace('"format":1', '"format":99')
    with catalog.load_table(IDENTIFIER).transaction() as transaction:
        transaction.set_properties({MARKER_KEY: newer})

    with pytest.raises(OperatorError, match="install the newer Highwater"):
        table.head()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "price", type = "decimal(18,8)"', 'name = "price", type = "double"', "'price'"),
        ('{name = "price", type = "decimal(18,8)", required = true},', "", "'price'"),
        ('name = "id", type = "string"', 'name = "id2", type = "string"', "'id2'"),
    ],
)
def test_a_table_of_another_shape_is_refused(
    catalog: Catalog, old: str, new: str, said: str
) -> None:
    a_table(catalog)
    assert old in TEXT
    text = TEXT.replace(old, new).replace(
        'product = ["price"]', 'column = "id2", in = ["x"], product = []'
    )
    text = text.replace('message_id = "id"', f'message_id = "{"id2" if "id2" in new else "id"}"')
    text = text[: text.index("lanes")] + text[text.index("[duplicates]") :]

    with pytest.raises(OperatorError, match=f"does not fit its definition: .*{said}"):
        a_table(catalog, text)


def test_another_day_column_is_refused(catalog: Catalog) -> None:
    two_times = TEXT.replace(
        '{name = "at"', '{name = "seen", type = "timestamp", required = true},\n  {name = "at"'
    )
    a_table(catalog, two_times)

    with pytest.raises(OperatorError, match="not partitioned by the day of 'seen'"):
        a_table(catalog, two_times.replace('event_time = "at"', 'event_time = "seen"'))


def test_files_and_their_directories_are_synced_before_the_commit(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = a_table(catalog)
    synced: list[str] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    written = table.write(rows(0))
    path = written.handle[0].file_path.removeprefix("file://")

    assert path in synced
    day = str(Path(path).parent)
    assert day in synced
    assert str(Path(day).parent) in synced  # the name of the day's directory is new too

    synced.clear()
    table.commit(written, MARKER, table.head())
    kinds = {Path(name).suffix for name in synced}
    assert {".avro", ".json"} <= kinds
    manifests = (tmp_path / "warehouse").rglob("*.avro")
    assert {str(m) for m in manifests} <= set(synced)


def test_a_conflict_deletes_no_manifest(catalog: Catalog, tmp_path: Path) -> None:
    """A gateway that repeats requests answers a commit that landed with a conflict."""
    table = a_table(catalog)
    head, stale = table.head(), table.head()
    table.commit(table.write(rows(0)), MARKER, head)
    before = set((tmp_path / "warehouse").rglob("*.avro"))

    assert table.commit(table.write(rows(1)), MARKER, stale) == Conflict()

    after = set((tmp_path / "warehouse").rglob("*.avro"))
    assert before < after


def test_long_texts_do_not_give_wrong_bounds(catalog: Catalog) -> None:
    """Parquet has no bounds for a row group with a long text: then the file must have none."""
    layout = TEXT + "[files]\nrow_group_rows = 1024\n"
    table = a_table(catalog, layout)
    texts = [f"m{i:04}" for i in range(1024)] + [f"{'z' * 6000}{i:04}" for i in range(10)]
    made = rows(*range(1034)).set_column(0, DEFINITION.stored_schema.field(0), pa.array(texts))

    written = table.write(made)
    table.commit(written, MARKER, table.head())

    file = written.handle[0]
    assert pq.read_metadata(file.file_path.removeprefix("file://")).num_row_groups == 2
    assert 1 not in file.upper_bounds
    loaded = catalog.load_table(IDENTIFIER)
    found = loaded.scan(row_filter=f"id = '{'z' * 6000}0003'").to_arrow()
    assert found.num_rows == 1


def test_files_have_the_layout_of_the_definition(catalog: Catalog) -> None:
    layout = """
[files]
row_group_rows = 1024
dictionary = ["price"]
delta = ["at", "_offset"]
bloom = ["id"]
"""
    table = a_table(catalog, TEXT + layout)

    written = table.write(rows(*range(3000)))

    file = written.handle[0]
    metadata = pq.read_metadata(file.file_path.removeprefix("file://"))
    assert metadata.num_row_groups == 3
    columns = {
        metadata.row_group(0).column(i).path_in_schema: metadata.row_group(0).column(i)
        for i in range(metadata.num_columns)
    }
    assert columns["price"].has_dictionary_page
    assert not columns["id"].has_dictionary_page
    assert "DELTA_BINARY_PACKED" in columns["at"].encodings
    assert "DELTA_BINARY_PACKED" in columns["_offset"].encodings
    assert columns["id"].bloom_filter_offset is not None
    assert columns["at"].bloom_filter_offset is None
    assert all(c.has_offset_index and c.has_column_index for c in columns.values())
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    ids = [f.metadata[b"PARQUET:field_id"] for f in metadata.schema.to_arrow_schema()]
    assert ids == [str(i + 1).encode() for i in range(6)]
    assert file.record_count == 3000
    assert set(file.lower_bounds) == set(range(1, 7))
    assert file.null_value_counts[1] == 0
