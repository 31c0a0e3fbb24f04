"""The promises of the `Table` port, kept by the table in memory and by the real one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from contract.definition import parse_definition
from contract.marker import Marker
from contract.settings import CommonSettings
from highwater.simulate.table import MemoryTable, Storage
from ingest.iceberg_schema import rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.ports import NOTHING_WRITTEN, Committed, Conflict, OffsetRange, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFINITION = parse_definition(
    """
    name = "small"
    topic = "small"
    message_id = "id"
    event_time = "at"
    columns = [
      {name = "id", type = "string", required = true},
      {name = "at", type = "timestamp", required = true},
      {name = "price", type = "decimal(18,8)"},
      {name = "tags", type = "list<string>"},
      {name = "extra", type = "map<string,string>"},
    ]
    """,
    "test",
)
DAY_US = 86_400_000_000


@pytest.fixture(params=["memory", "iceberg"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    """An empty table of the definition above."""
    if request.param == "memory":
        yield MemoryTable(Storage(DEFINITION.stored_schema))
        return
    catalog = open_catalog(CommonSettings(data_dir=tmp_path))
    ids = (f"file-{i}" for i in itertools.count())
    real = IcebergTable(catalog, "public", rows_shape(DEFINITION), lambda: next(ids))
    real.ensure()
    yield real
    catalog.close()


def rows(partition: int, offsets: range, day: int = 0) -> pa.Table:
    """One row for each offset."""
    made: list[dict[str, Any]] = [
        {
            "id": f"{partition}-{offset}",
            "at": day * DAY_US + offset,
            "tags": ["a", None],
            "extra": [("k", "v")],
            "_partition": partition,
            "_offset": offset,
            "_timestamp": offset,
        }
        for offset in offsets
    ]
    return pa.Table.from_pylist(made, schema=DEFINITION.stored_schema)


def a_marker(commit_id: str, next_offset: int = 0, epoch: int = 1) -> Marker:
    """A marker of one partition."""
    return Marker(
        topic="small",
        topic_id="topic-1",
        epoch=epoch,
        commit_id=commit_id,
        next={0: (next_offset,) * 3},
        remembered={},
        rows=0,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=0,
        rules_digest=DEFINITION.rules_digest,
    )


def offsets_in(table: Table, partition: int = 0) -> list[int]:
    """All offsets of that partition, ordered."""
    found = table.read(table.head(), [OffsetRange(partition, 0, 2**40)], ["_offset"])
    return list(found.column("_offset").to_pylist())


def test_a_new_table_has_neither_rows_nor_marker(table: Table) -> None:
    head = table.head()

    assert head.marker is None
    assert head.snapshot_id is None
    assert not head.holds_rows


def test_a_commit_brings_rows_and_marker_together(table: Table) -> None:
    written = table.write(rows(0, range(10)))
    assert written.rows == 10
    assert table.head().marker is None

    outcome = table.commit(written, a_marker("c1", 10), table.head())

    assert isinstance(outcome, Committed)
    head = table.head()
    assert head.snapshot_id == outcome.snapshot_id
    assert head.marker == a_marker("c1", 10)
    assert head.holds_rows
    assert offsets_in(table) == list(range(10))


def test_a_commit_without_files_is_a_snapshot_with_a_marker(table: Table) -> None:
    table.commit(NOTHING_WRITTEN, a_marker("c1"), table.head())
    first = table.head()
    table.commit(NOTHING_WRITTEN, a_marker("c2"), first)

    head = table.head()

    assert head.marker == a_marker("c2")
    assert head.snapshot_id != first.snapshot_id
    assert not head.holds_rows


def test_a_commit_against_an_older_head_is_a_conflict_and_changes_nothing(table: Table) -> None:
    old = table.head()
    table.commit(table.write(rows(0, range(5))), a_marker("c1", 5), old)

    outcome = table.commit(table.write(rows(0, range(5))), a_marker("c2", 5), old)

    assert isinstance(outcome, Conflict)
    assert offsets_in(table) == list(range(5))
    assert table.head().marker == a_marker("c1", 5)


def test_two_heads_loaded_before_a_commit_do_not_both_take_one(table: Table) -> None:
    first, second = table.head(), table.head()
    files = table.write(rows(0, range(5)))

    outcomes = [
        table.commit(files, a_marker("c1", 5), first),
        table.commit(files, a_marker("c2", 5), second),
    ]

    assert isinstance(outcomes[0], Committed)
    assert isinstance(outcomes[1], Conflict)


def test_files_of_a_conflict_can_be_committed_against_the_next_head(table: Table) -> None:
    old = table.head()
    table.commit(NOTHING_WRITTEN, a_marker("c1"), old)
    files = table.write(rows(0, range(7)))
    assert isinstance(table.commit(files, a_marker("c2", 7), old), Conflict)

    outcome = table.commit(files, a_marker("c2", 7), table.head())

    assert isinstance(outcome, Committed)
    assert offsets_in(table) == list(range(7))


def test_reading_takes_the_ranges_in_order_of_partition_and_offset(table: Table) -> None:
    both = pa.concat_tables([rows(1, range(5, 10)), rows(0, range(10)), rows(1, range(5))])
    table.commit(table.write(both), a_marker("c1"), table.head())

    found = table.read(
        table.head(),
        [OffsetRange(1, 3, 7), OffsetRange(0, 8, 100)],
        ["id", "_partition", "_offset"],
    )

    assert found.column("id").to_pylist() == ["0-8", "0-9", "1-3", "1-4", "1-5", "1-6"]
    assert found.column_names == ["id", "_partition", "_offset"]


def test_rows_of_several_days_are_all_there(table: Table) -> None:
    parts = [rows(0, range(i, i + 1), day=i % 3) for i in range(9)]

    table.commit(table.write(pa.concat_tables(parts)), a_marker("c1"), table.head())

    assert offsets_in(table) == list(range(9))


def test_expiring_keeps_rows_and_the_newest_marker(table: Table) -> None:
    for i in range(6):
        files = table.write(rows(0, range(i, i + 1)))
        table.commit(files, a_marker(f"c{i}", i + 1), table.head())

    assert table.expire(2) == 4
    assert table.expire(2) == 0

    assert offsets_in(table) == list(range(6))
    assert table.head().marker == a_marker("c5", 6)


def test_a_head_stays_what_it_was_while_others_commit(table: Table) -> None:
    table.commit(table.write(rows(0, range(3))), a_marker("c1", 3), table.head())
    head = table.head()
    known = replace(head, handle=None)

    table.commit(table.write(rows(0, range(3, 6))), a_marker("c2", 6), table.head())

    assert replace(head, handle=None) == known
