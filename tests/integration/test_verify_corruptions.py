"""Each way to spoil a table is found by `highwater verify`, at the right place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contract.marker import MARKER_KEY
from contract.table import LANES
from tests.support.verify_lab import DEAD, RETAINED, ROWS, VerifyLab, a_history, changed, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.table import Table

    from highwater.verify.findings import Finding
    from ingest.broker import EmbeddedBroker


@pytest.fixture(scope="module")
def made(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> VerifyLab:
    """Made once; each test gets it back as it was."""
    assert broker.create_topic("verify-corruptions", 3, RETAINED)
    lab = VerifyLab(tmp_path_factory.mktemp("lab"), broker.bootstrap, "verify-corruptions")
    a_history(lab)
    lab.back_up()
    return lab


@pytest.fixture
def lab(made: VerifyLab) -> Iterator[VerifyLab]:
    yield made
    made.restore()


def place(finding: Finding) -> tuple[str, int | None, int | None, int | None]:
    return finding.table, finding.partition, finding.from_offset, finding.to_offset


def rows_at(table: Table, partition: int, *offsets: int) -> pa.Table:
    rows = table.scan().to_arrow()
    at = pc.and_(
        pc.equal(rows["_partition"], partition), pc.is_in(rows["_offset"], pa.array(offsets))
    )
    return rows.filter(at)


def with_offset(rows: pa.Table, change: Callable[[int], int]) -> pa.Table:
    moved = pa.array([change(o) for o in rows["_offset"].to_pylist()], pa.int64())
    index = rows.schema.get_field_index("_offset")
    return rows.set_column(index, rows.schema.field(index), moved)


def local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


def name_of(path: str) -> str:
    """As findings name a file."""
    return path[path.index("data/at_day") :] if "data/at_day" in path else path


def test_a_lost_row_is_found(lab: VerifyLab) -> None:
    with lab.table() as table:
        table.delete("_partition = 0 and _offset = 5")

    (lost,) = lab.findings("offsets.complete")

    assert place(lost) == (ROWS, 0, 5, 6)
    (commit,) = lab.findings("commits.foreign")
    assert "removes 1 rows" in commit.text


def test_a_lost_row_is_found_though_another_takes_its_place_in_the_counts(lab: VerifyLab) -> None:
    with lab.table() as table:
        double = rows_at(table, 0, 6)
        table.delete("_partition = 0 and _offset = 5")
        table.append(double)

    assert place(lab.findings("offsets.complete")[0]) == (ROWS, 0, 5, 6)
    assert place(lab.findings("offsets.once")[0]) == (ROWS, 0, 6, 7)


def test_a_doubled_row_is_found(lab: VerifyLab) -> None:
    with lab.table() as table:
        table.append(rows_at(table, 2, 1))
        by = table.metadata.current_snapshot_id

    (doubled,) = lab.findings("offsets.once")

    assert place(doubled) == (ROWS, 2, 1, 2)
    (foreign,) = lab.findings("commits.foreign")
    assert (foreign.snapshot_id, "adds 1 rows" in foreign.text) == (by, True)


def test_a_doubled_file_is_found(lab: VerifyLab) -> None:
    with lab.table() as table:
        file = next(iter(table.scan().plan_files())).file
        with table.transaction() as transaction:
            append = transaction.update_snapshot().fast_append()
            append.append_data_file(file)
            append.commit()

    (doubled,) = lab.findings("files.unique")

    assert doubled.file == name_of(file.file_path)
    assert len(lab.findings("offsets.once")) >= 1


def test_a_copy_of_a_file_under_another_name_is_found(lab: VerifyLab) -> None:
    with lab.table() as table:
        file = next(iter(table.scan().plan_files())).file
        original = name_of(file.file_path)
        copy = file.file_path.replace(".parquet", "-copy.parquet")
        local(copy).write_bytes(local(file.file_path).read_bytes())
        file[1] = copy  # its path
        with table.transaction() as transaction:
            append = transaction.update_snapshot().fast_append()
            append.append_data_file(file)
            append.commit()

    (doubled,) = lab.findings("files.unique")

    names = {original, name_of(copy)}
    assert doubled.file in names
    assert any(name in doubled.text for name in names)


def test_a_missing_file_is_found(lab: VerifyLab) -> None:
    missing = lab.files()[0]
    local(missing["path"]).unlink()

    (finding,) = lab.findings("files.present")

    assert finding.file == name_of(missing["path"])
    assert f"{missing['rows']} rows" in finding.text


@pytest.mark.parametrize("left", [0.5, 0.0])
def test_a_truncated_file_is_found(lab: VerifyLab, left: float) -> None:
    path = lab.files()[-1]["path"]
    content = local(path).read_bytes()
    local(path).write_bytes(content[: int(len(content) * left)])

    (finding,) = lab.findings("files.present")

    assert finding.file == name_of(path)
    assert f"where {len(content)} were committed" in finding.text
    assert lab.findings("files.readable")[0].file == name_of(path)


def test_a_file_of_another_table_in_the_place_of_one_is_found(lab: VerifyLab) -> None:
    path, other = lab.files()[0]["path"], lab.files(DEAD)[0]["path"]
    local(path).write_bytes(local(other).read_bytes())

    (finding,) = lab.findings("files.own")

    assert finding.file == name_of(path)
    assert "a file of another table" in finding.text


def test_a_file_of_another_table_that_was_put_in_is_found(lab: VerifyLab) -> None:
    """Of one with the very same columns: only its place tells."""
    with lab.catalog() as catalog:
        table = catalog.load_table(ROWS)
        twin = catalog.create_table("public.twin", table.schema(), partition_spec=table.spec())
        twin.append(rows_at(table, 0, 3, 4))
        files = [task.file for task in twin.scan().plan_files()]
        with table.transaction() as transaction:
            append = transaction.update_snapshot().fast_append()
            for file in files:
                append.append_data_file(file)
            append.commit()

    found = lab.findings("files.own")

    assert {f.file for f in found} == {f.file_path for f in files}
    assert {place(f)[1:] for f in lab.findings("offsets.once")} <= {(0, 3, 4), (0, 4, 5), (0, 3, 5)}


def test_a_marker_beyond_the_log_is_found(lab: VerifyLab) -> None:
    marker, end = lab.marker(), lab.ends[2]
    ahead = changed(marker)
    lab.commit_marker(changed(ahead, next={**ahead.next, 2: (end + 5,) * len(LANES)}))

    (finding,) = lab.findings("marker.ahead")

    assert place(finding) == (ROWS, 2, end, end + 5)


def test_a_marker_ahead_of_the_rows_is_found(lab: VerifyLab) -> None:
    start = lab.ends[0]
    lab.produce(0, value("late-1"), value("late-2"), b"late poison")
    ahead = changed(lab.marker())
    try:
        lab.commit_marker(changed(ahead, next={**ahead.next, 0: (start + 3,) * len(LANES)}))

        found = lab.findings("offsets.complete")

        assert {place(f) for f in found} == {
            (ROWS, 0, start, start + 2),
            (DEAD, 0, start + 2, start + 3),
        }
        assert lab.findings("commits.counts")
    finally:  # the other tests' log is the same one, and their marker does not cover these
        lab.ends[0] = start + 3


def test_a_marker_behind_the_rows_is_found(lab: VerifyLab) -> None:
    marker = changed(lab.marker())
    end = marker.next[0][0]
    lab.commit_marker(changed(marker, next={**marker.next, 0: (end - 2,) * len(LANES)}))

    (back,) = lab.findings("marker.monotone")
    behind = lab.findings("marker.behind")

    assert place(back) == (ROWS, 0, end - 2, end)
    assert {(f.table, f.partition) for f in behind} == {(ROWS, 0)}
    assert {o for f in behind for o in range(f.from_offset or 0, f.to_offset or 0)} == {
        end - 2,
        end - 1,
    }


def test_a_marker_of_another_topic_is_found(lab: VerifyLab) -> None:
    marker = changed(lab.marker(), topic_id="AAAAAAAAAAAAAAAAAAAAAA")
    lab.commit_marker(marker)

    found = lab.findings("marker.topic")

    assert any("AAAAAAAAAAAAAAAAAAAAAA" in f.text for f in found)
    assert {f.table for f in found} == {ROWS}


@pytest.mark.parametrize("copy_is_left", [True, False])
def test_a_marker_lost_by_an_overwrite_is_found(lab: VerifyLab, copy_is_left: bool) -> None:
    with lab.table() as table:
        table.overwrite(table.scan().to_arrow())
        old = [s.snapshot_id for s in table.snapshots()[:-1]]
    with lab.table() as table:
        table.maintenance.expire_snapshots().by_ids(old).commit()
        head = table.metadata.current_snapshot_id
        if not copy_is_left:
            with table.transaction() as transaction:
                transaction.remove_properties(MARKER_KEY)

    (finding,) = lab.findings("marker.present")

    assert (finding.table, finding.snapshot_id) == (ROWS, head)


def test_a_row_at_the_offset_of_no_message_is_found(lab: VerifyLab) -> None:
    with lab.table() as table:
        moved = with_offset(rows_at(table, 2, 1), lambda _: 3)  # of the aborted message
        table.delete("_partition = 2 and _offset = 1")
        table.append(moved)

    assert place(lab.findings("offsets.expected")[0]) == (ROWS, 2, 3, 4)
    assert place(lab.findings("offsets.complete")[0]) == (ROWS, 2, 1, 2)


def test_rows_that_have_changed_offsets_with_each_other_are_found(lab: VerifyLab) -> None:
    """The set of offsets and all counts are right: only the content tells."""
    with lab.table() as table:
        moved = with_offset(rows_at(table, 0, 7, 8), lambda offset: 15 - offset)
        table.delete("_partition = 0 and _offset in (7, 8)")
        table.append(moved)

    found = lab.findings("offsets.content")

    assert {f.check for f in lab.findings()} == {"offsets.content"}
    assert [place(f) for f in found] == [(ROWS, 0, 7, 9)]
    assert "column id" in found[0].text


def test_a_lost_dead_letter_is_found(lab: VerifyLab) -> None:
    with lab.table(DEAD) as table:
        table.delete("_partition = 1 and _offset = 2")

    (lost,) = lab.findings("offsets.complete")

    assert place(lost) == (DEAD, 1, 2, 3)


def test_a_dead_letter_with_other_bytes_is_found(lab: VerifyLab) -> None:
    with lab.table(DEAD) as table:
        rows: Any = rows_at(table, 1, 1)
        index = rows.schema.get_field_index("value")
        field = rows.schema.field(index)
        spoiled = rows.set_column(index, field, pa.array([b"other"], field.type))
        table.delete("_partition = 1 and _offset = 1")
        table.append(spoiled)

    (found,) = lab.findings("offsets.content")

    assert place(found) == (DEAD, 1, 1, 2)
    assert "column value" in found.text


def test_a_copy_of_the_marker_that_belongs_to_nothing_is_found(lab: VerifyLab) -> None:
    with lab.table() as table, table.transaction() as transaction:
        transaction.set_properties({MARKER_KEY: changed(lab.marker()).to_json()})

    (found,) = lab.findings("marker.copy")

    assert found.table == ROWS
