"""Compaction of real tables: the same rows in fewer files, whatever happens meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.definition import load_definition, parse_definition
from contract.errors import CancelledError
from contract.marker import MAINTENANCE_KEY, MARKER_KEY
from contract.settings import CommonSettings
from highwater.simulate.scheduler import SimulatedCrash
from ingest.commit import FencedError
from ingest.iceberg_table import open_catalog
from ingest.maintenance.tiers import plan
from tests.support.failpoints import CrashAt
from tests.support.maintenance_lab import Lab, always
from tests.support.sidecar_world import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyiceberg.catalog import Catalog

LAYOUT = '[files]\nrow_group_rows = 1024\ndictionary = ["price"]\ndelta = ["at"]\nbloom = ["id"]\n'


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(CommonSettings(data_dir=tmp_path))
    yield made
    made.close()


@pytest.fixture
def lab(catalog: Catalog, tmp_path: Path) -> Lab:
    return Lab(catalog, tmp_path)


def head_summary(lab: Lab) -> dict[str, str]:
    snapshot = lab.catalog.load_table(lab.identifier).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return dict(snapshot.summary.additional_properties)


def test_small_files_of_a_day_become_one_with_the_same_rows_in_their_order(lab: Lab) -> None:
    for _ in range(9):
        lab.append(3)
        lab.append(2, day=1)
    before, writer_marker = lab.content(), lab.writer.marker

    done = lab.maintainer().compact(always)

    assert (done.groups, done.replaced_files, done.rows) == (2, 18, 45)
    assert (done.data_files, done.problems) == (2, ())
    assert len(lab.live()) == 2
    assert lab.content() == before
    for path in lab.live():
        offsets = pq.read_table(path, columns=["_offset"]).column(0).to_pylist()
        assert offsets == sorted(offsets)
    summary = head_summary(lab)
    assert summary[MARKER_KEY] == writer_marker.to_json()
    assert json.loads(summary[MAINTENANCE_KEY])["kind"] == "compaction"
    assert summary["total-records"] == "45"
    lab.append()
    assert lab.content().num_rows == 48


def test_a_compacted_file_has_the_layout_of_its_table(catalog: Catalog, tmp_path: Path) -> None:
    lab = Lab(catalog, tmp_path, parse_definition(TEXT + LAYOUT, "test"))
    for _ in range(8):
        lab.append(400)

    lab.maintainer().compact(always)

    (path,) = lab.live()
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [
        1024,
        1024,
        1024,
        128,
    ]
    columns = {c.path_in_schema: c for c in _columns(file)}
    assert columns["id"].has_offset_index
    assert columns["id"].compression == "ZSTD"
    assert columns["price"].has_dictionary_page
    assert "DELTA_BINARY_PACKED" in columns["at"].encodings
    assert columns["_offset"].statistics.max == 1023
    assert pa.schema(list(file.schema_arrow)).field("id").metadata[b"PARQUET:field_id"] == b"1"
    small = sum(f.stat().st_size for f in lab.stored() if f != path)
    assert path.stat().st_size < small


def _columns(file: pq.ParquetFile) -> list[Any]:
    group = file.metadata.row_group(0)
    return [group.column(i) for i in range(group.num_columns)]


def test_nested_columns_and_nulls_are_kept(catalog: Catalog, tmp_path: Path) -> None:
    lab = Lab(catalog, tmp_path, load_definition("trades"))
    schema = lab.definition.stored_schema
    for n in range(8):
        row: dict[str, Any] = {
            field.name: _value(field.type, n, nullable=field.nullable) for field in schema
        }
        row |= {"_partition": 0, "_offset": n}
        lab.next_offset = n + 1
        lab.commit(lab.writer.write(pa.Table.from_pylist([row], schema=schema)))
    before = lab.content()

    assert lab.maintainer().compact(always).groups == 1

    assert len(lab.live()) == 1
    assert lab.content() == before


def _value(kind: pa.DataType, n: int, *, nullable: bool) -> Any:
    if nullable and n % 3 == 0:
        return None
    if pa.types.is_list(kind):
        return ["a", None][: n % 3]
    if pa.types.is_map(kind):
        return [("k", "v"), ("l", None)][: n % 3]
    return f"text {n}" if pa.types.is_string(kind) else n


def test_an_append_between_writing_and_committing_is_kept(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    once = [lab.append]

    def failpoint(name: str) -> None:
        if name == "compaction.before_commit" and once:
            once.pop()()

    done = lab.maintainer(failpoint=failpoint).compact(always)

    assert (done.groups, done.problems) == (1, ())
    assert len(lab.live()) == 2
    assert lab.content().column("_offset").to_pylist() == list(range(27))
    assert json.loads(head_summary(lab)[MARKER_KEY])["next"] == {"0": [27, 27, 27]}
    assert len(lab.stored()) == 10  # written once, although it was committed at the second try


def test_files_that_another_compaction_took_first_are_given_up(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    before, once = lab.content(), [lab.maintainer()]

    def failpoint(name: str) -> None:
        if name == "compaction.before_commit" and once:
            assert once.pop().compact(always).groups == 1

    done = lab.maintainer(failpoint=failpoint).compact(always)

    assert done.groups == 0
    assert "replaced by another commit" in done.problems[0]
    assert lab.content() == before
    assert len(lab.live()) == 1


@pytest.mark.parametrize(
    "place",
    [
        "compaction.after_write",
        "compaction.before_commit",
        "compaction.after_commit",
    ],
)
def test_a_crash_at_any_place_changes_no_row(lab: Lab, place: str) -> None:
    for _ in range(8):
        lab.append()
    before = lab.content()

    with pytest.raises(SimulatedCrash):
        lab.maintainer(failpoint=CrashAt(place)).compact(always)

    assert lab.content() == before
    lab.append()
    assert lab.maintainer().compact(always).groups == (0 if "after_commit" in place else 1)
    assert lab.content().num_rows == 27


def test_an_overtaken_sidecar_commits_no_compaction(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    before = lab.content()
    maintainer = lab.maintainer(epoch=lab.writer.marker.epoch)
    lab.new_writer()

    with pytest.raises(FencedError):
        maintainer.compact(always)

    assert lab.content() == before
    assert len(lab.live()) == 8


def test_a_compaction_that_took_too_long_is_not_committed(lab: Lab) -> None:
    """Others may have given its files up by then."""
    for _ in range(8):
        lab.append()
    maintainer = lab.maintainer()
    head = maintainer.table.head()
    live = maintainer.table.live(head, 0.0)
    (group,) = plan(live.files, 2**27, 0.0)
    long_ago_s = lab.clock.wall_s() - 301.0
    swap = maintainer.table.rewrite(head, live, group, long_ago_s, lambda: None)
    assert swap is not None

    with pytest.raises(CancelledError, match="in time"):
        maintainer.lander.land(swap)

    assert len(lab.live()) == 8
    maintainer.lander.land(replace(swap, begun_s=lab.clock.wall_s()))
    assert len(lab.live()) == 1


def test_a_marker_that_is_in_the_properties_alone_is_not_made_a_snapshots(lab: Lab) -> None:
    """It may be of a commit that was rolled back; whoever flushes decides what to believe."""
    for _ in range(8):
        lab.append()
    table = lab.catalog.load_table(lab.identifier)
    table.overwrite(table.scan().to_arrow())
    table = lab.catalog.load_table(lab.identifier)
    old = [s.snapshot_id for s in table.snapshots()[:-1]]
    table.maintenance.expire_snapshots().by_ids(old).commit()

    assert "no snapshot has its marker" in lab.maintainer().compact(always).refused
    lab.append()
    assert lab.maintainer().compact(always).refused == ""


def test_it_ends_between_row_groups_when_it_must_pause_and_leaves_nothing(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    answers = iter([True, False])

    done = lab.maintainer().compact(lambda: next(answers, False))

    assert done.groups == 0
    assert "asked to pause" in done.problems[0]
    assert len(lab.live()) == len(lab.stored()) == 8


def test_a_file_of_another_layout_stays_and_those_beside_it_are_put_together(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    table = lab.catalog.load_table(lab.identifier)
    strange = lab.live()[0].parent / "strange.parquet"
    pq.write_table(lab.rows(1), strange)  # without field ids
    table.add_files([f"file://{strange}"])
    before, maintainer = lab.content(), lab.maintainer()

    done = maintainer.compact(always)

    assert done.replaced_files == 8
    assert strange in lab.live()
    assert len(lab.live()) == 2
    assert lab.content() == before
    assert maintainer.compact(always).small_files == 1  # it is not looked at again


def test_a_dry_run_says_what_would_be_done_and_does_nothing(lab: Lab) -> None:
    for _ in range(8):
        lab.append()
    before = lab.live()

    done = lab.maintainer().compact(always, dry_run=True)

    assert (done.groups, done.replaced_files, done.rows, done.data_files) == (1, 8, 24, 8)
    assert lab.live() == before


def test_a_table_without_a_marker_is_not_touched(lab: Lab) -> None:
    table = lab.catalog.create_table("public.other", lab.rows(1).schema)
    with table.transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "0"})
    other = Lab.__new__(Lab)
    other.__dict__ |= {**lab.__dict__, "definition": replace(lab.definition, name="other")}
    for _ in range(8):
        table.append(lab.rows(1))

    assert "no marker" in other.maintainer().compact(always).refused
