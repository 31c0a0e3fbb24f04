"""Files that nothing needs are removed from a real table's directory, and no others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from contract.clock import SystemClock
from contract.errors import OperatorError
from contract.settings import CommonSettings
from ingest.iceberg_table import open_catalog
from ingest.maintenance.orphans import STRANGER_S
from ingest.maintenance.tiers import plan
from ingest.ports import Conflict
from tests.support.maintenance_lab import Lab, always, an_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.maintenance.collect import Collected
    from ingest.maintenance.maintainer import Maintainer
    from ingest.maintenance.swap import Swap

GRACE_S = 3_600.0


@dataclass
class Ahead(SystemClock):
    """A clock that can be set forward."""

    ahead_s: float = 0.0

    @override
    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


@dataclass
class CollectLab(Lab):
    """Files grow old by the hour."""

    def age(self, age_s: float = 1_000.0) -> None:
        """As if everything there had been written so long ago, and then something was committed."""
        for path in self.stored(""):
            if path.is_file():
                times = path.stat().st_mtime - age_s
                os.utime(path, (times, times))
        self.append()

    def collect(self, ahead_s: float = 0.0, **settings: Any) -> Collected:
        assert isinstance(self.clock, Ahead)
        self.clock.ahead_s = ahead_s
        return self.maintainer(**settings).collect(always)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[CollectLab]:
    catalog = open_catalog(CommonSettings(data_dir=tmp_path))
    yield CollectLab(catalog, tmp_path, clock=Ahead())
    catalog.close()


def compacted(lab: CollectLab) -> set[Path]:
    """Eight files were put together and their snapshots expired; those files."""
    for _ in range(8):
        lab.append()
    old = set(lab.live())
    maintainer = lab.maintainer()
    assert maintainer.compact(always).groups == 1
    lab.age()
    lab.append()
    assert maintainer.table.expire(2) > 0
    return old


def test_replaced_files_are_removed_when_they_were_unneeded_for_the_whole_grace(
    lab: CollectLab,
) -> None:
    old, before = compacted(lab), lab.content()

    first = lab.collect()
    assert (first.removed, first.open) == (0, 0)
    assert first.waiting > len(old)  # with their manifests
    assert lab.collect(GRACE_S - 5).removed == 0
    assert old <= set(lab.stored())
    last = lab.collect(GRACE_S + 5)

    assert last.removed == first.waiting
    assert old.isdisjoint(lab.stored())
    assert set(lab.stored()) == set(lab.live())
    assert lab.content() == before
    lab.append()
    assert lab.content().num_rows == before.num_rows + 3


def test_nothing_that_a_known_snapshot_names_is_removed(lab: CollectLab) -> None:
    """Not of an ancestor, nor of what was rolled back, nor of a tag."""
    for _ in range(3):
        lab.append()
    table = lab.catalog.load_table(lab.identifier)
    tagged = table.current_snapshot()
    assert tagged is not None
    table.manage_snapshots().create_tag(tagged.snapshot_id, "kept").commit()
    compacted(lab)
    table = lab.catalog.load_table(lab.identifier)
    head = table.current_snapshot()
    assert head is not None
    assert head.parent_snapshot_id is not None
    table.manage_snapshots().rollback_to_snapshot(head.parent_snapshot_id).commit()
    snapshots = {s.snapshot_id for s in lab.catalog.load_table(lab.identifier).snapshots()}

    lab.collect()
    assert lab.collect(100 * GRACE_S).removed > 0

    assert tagged.snapshot_id in snapshots
    for snapshot_id in snapshots:
        rows = lab.catalog.load_table(lab.identifier).scan(snapshot_id=snapshot_id).to_arrow()
        assert rows.num_rows > 0


def test_a_flush_that_is_not_committed_yet_is_kept_until_the_marker_has_passed_it(
    lab: CollectLab,
) -> None:
    lab.append()
    rows = lab.rows(3)
    pending, twin = lab.writer.write(rows), lab.writer.write(rows)
    (path,) = [_path(f.file_path) for f in pending.handle]
    for stored in lab.stored():
        os.utime(stored, (0, 0))
    table = lab.catalog.load_table(lab.identifier)
    table.append(table.scan().to_arrow().slice(0, 0))  # the head moves on, the marker does not

    assert lab.collect().open >= 2
    assert lab.collect(100 * STRANGER_S).open >= 2
    assert path in lab.stored()

    lab.next_offset += 3
    lab.commit(twin)
    lab.collect()
    lab.collect(100 * GRACE_S)
    assert path not in lab.stored()
    assert _path(twin.handle[0].file_path) in lab.stored()
    assert lab.content().num_rows == 6


def test_half_a_file_of_a_killed_process_is_removed_and_a_strange_one_has_three_days(
    lab: CollectLab,
) -> None:
    lab.append()
    (live,) = lab.live()
    half, strange = live.with_name(f"{an_id()}-00000.parquet"), live.with_name("00000-0-x.parquet")
    for path in (half, strange):
        path.write_bytes(live.read_bytes()[:-50])
    (live.parent / "notes.txt").write_text("of a person")
    lab.age()

    assert lab.collect().open == 1
    lab.collect(GRACE_S + 5)
    assert not half.exists()
    lab.collect(STRANGER_S)
    lab.collect(STRANGER_S + GRACE_S + 5)
    assert not strange.exists()
    assert (live.parent / "notes.txt").exists()


def a_swap(maintainer: Maintainer, lab: CollectLab) -> Swap:
    head = maintainer.table.head()
    live = maintainer.table.live(head, 0.0)
    (group,) = plan(live.files, 2**27, 0.0)
    swap = maintainer.table.rewrite(head, live, group, lab.clock.wall_s(), lambda: None)
    assert swap is not None
    return swap


def test_a_compaction_that_was_halted_before_its_commit_cannot_name_files_that_are_gone(
    lab: CollectLab,
) -> None:
    for _ in range(8):
        lab.append()
    maintainer = lab.maintainer()
    swap, head = a_swap(maintainer, lab), maintainer.table.head()
    assert head.marker is not None
    made = _path(swap.added[0].file_path)

    lab.collect()
    assert lab.collect(1_000 * STRANGER_S).open >= 1  # the head is still the one it would assert
    assert made.exists()
    lab.age()
    lab.collect()
    lab.collect(GRACE_S + 5)

    assert not made.exists()
    assert isinstance(maintainer.table.swap(swap, head.marker, head), Conflict)
    assert lab.content().num_rows == 27


def test_if_a_file_that_the_table_needs_is_missing_nothing_is_removed(lab: CollectLab) -> None:
    old = compacted(lab)
    lab.collect()
    moved = lab.live()[0]
    moved.rename(moved.with_suffix(".moved"))

    with pytest.raises(OperatorError, match="missing from its directory"):
        lab.collect(GRACE_S + 5)

    assert old <= set(lab.stored())


def test_a_broken_ledger_lets_the_grace_begin_anew(lab: CollectLab) -> None:
    compacted(lab)
    waiting = lab.collect().waiting
    (ledger,) = lab.stored("highwater-unneeded.json")
    ledger.write_text('{"format": 1, "unneeded": {"a"')

    assert lab.collect(GRACE_S + 5).removed == 0
    assert lab.collect(2 * GRACE_S + 10).removed == waiting


def test_a_dry_run_removes_and_notes_nothing(lab: CollectLab) -> None:
    compacted(lab)
    lab.collect()
    lab.clock = Ahead(GRACE_S + 5)
    files, (ledger,) = lab.stored(""), lab.stored("highwater-unneeded.json")
    noted = ledger.read_text()

    done = lab.maintainer().collect(always, dry_run=True)

    assert done.removed > 8
    assert done.removed_bytes > 0
    assert lab.stored("") == files
    assert ledger.read_text() == noted


def test_a_table_whose_files_may_lie_elsewhere_is_refused(lab: CollectLab) -> None:
    table = lab.catalog.load_table(lab.identifier)
    with table.transaction() as transaction:
        transaction.set_properties({"write.data.path": "file:///tmp/elsewhere"})

    assert "lie elsewhere" in lab.collect().refused


def test_it_ends_early_when_it_must_pause_and_goes_on_later(lab: CollectLab) -> None:
    compacted(lab)
    waiting = lab.collect().waiting
    lab.clock = Ahead(GRACE_S + 5)
    answers = iter([True, True])

    some = lab.maintainer().collect(lambda: next(answers, False))

    assert (some.removed, some.waiting) == (2, waiting - 2)
    assert lab.maintainer().collect(always).removed == waiting - 2


def _path(location: str) -> Path:
    from pathlib import Path

    return Path(location.removeprefix("file://"))
