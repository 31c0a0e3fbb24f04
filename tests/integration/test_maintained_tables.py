"""Maintenance of the tables of a scripted log: sidecar and `highwater verify` find all in order."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from contract.marker import MAINTENANCE_KEY
from highwater.verify.report import as_text
from ingest.backoff import Backoff
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.maintenance.config import MaintenanceSettings
from ingest.maintenance.lake import MaintainedTable
from ingest.maintenance.maintainer import Maintainer
from ingest.maintenance.swap import Lander, Swap
from ingest.ports import Committed
from tests.support.maintenance_lab import always, an_id
from tests.support.sidecar_world import POISON, SETTINGS, trade
from tests.support.verify_lab import DEAD, ROWS
from tests.support.verify_world import ScriptedLab

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.iceberg_schema import TableShape


@pytest.fixture
def lab(tmp_path: Path) -> ScriptedLab:
    made = ScriptedLab(tmp_path)
    made.world.settings = replace(SETTINGS, flush_rows=1, expire_every_commits=0)
    return made


def maintain(lab: ScriptedLab, keep_snapshots: int = 20) -> int:
    """Compact both tables and expire their snapshots; how many files were replaced."""
    replaced = 0
    with lab.catalog() as catalog:
        for shape in (rows_shape(lab.world.definition), dead_shape(lab.world.definition)):
            maintainer = a_maintainer(catalog, shape, lab.data)
            done = maintainer.compact(always)
            assert done.problems == ()
            replaced += done.replaced_files
            maintainer.table.expire(keep_snapshots)
    return replaced


def a_maintainer(catalog: Any, shape: TableShape, folder: Path) -> Maintainer:
    table = MaintainedTable(catalog, "public", shape, an_id)
    clock = SystemClock()
    lander = Lander(table, clock, lambda: Backoff(Random(1), 0.01, 0.05), 300.0)
    return Maintainer(table, lander, clock, MaintenanceSettings(data_dir=folder))


def fill(lab: ScriptedLab, turn: int) -> None:
    """Some flushes of rows, repeated rows, poison and tombstones."""
    for n in range(16):
        name = f"{turn}-{n}"
        lab.world.log.append(n % 2, trade(name, 7 * n), POISON, trade(name, 7 * n))
    lab.ingest()


@pytest.mark.parametrize("keep_snapshots", [2, 20])
def test_verify_has_no_finding_whatever_was_compacted_and_forgotten(
    lab: ScriptedLab, keep_snapshots: int
) -> None:
    """With 2 the oldest snapshot that is known is now and then that of a compaction."""
    replaced = 0
    for turn in range(2):
        fill(lab, turn)
        replaced += maintain(lab, keep_snapshots)
        report = lab.report()
        assert report.ledger.findings == [], as_text([lab.verify()])
    assert replaced >= 16
    assert len(lab.files(ROWS)) < 8
    assert len(lab.files(DEAD)) < 8


def test_a_compaction_is_known_for_one_when_all_before_it_is_forgotten(lab: ScriptedLab) -> None:
    fill(lab, 0)
    assert maintain(lab) >= 8
    with lab.catalog() as catalog:
        table = catalog.load_table(ROWS)
        table.maintenance.expire_snapshots().by_ids(
            [s.snapshot_id for s in table.snapshots()[:-1]]
        ).commit()
        (left,) = catalog.load_table(ROWS).snapshots()
        assert left.summary is not None
        assert MAINTENANCE_KEY in left.summary.additional_properties

    assert lab.report().ledger.findings == []


def test_a_sidecar_goes_on_from_a_compaction_and_knows_what_it_must_remember(
    lab: ScriptedLab,
) -> None:
    """A row is repeated after compaction and restart: it is still a duplicate."""
    fill(lab, 0)
    before = lab.marker()
    assert maintain(lab, 2) >= 8
    assert lab.marker() == before
    lab.world.log.append(0, trade("0-14", 98), trade("new", 84))

    lab.ingest()

    report = lab.report()
    assert report.ledger.findings == []
    marker = lab.marker()
    assert marker is not None
    assert (marker.rows, marker.duplicates) == (1, 1)


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_verify_finds_a_compaction_that_lost_a_row(lab: ScriptedLab, is_forgotten: bool) -> None:
    """Also when nothing before it is known any more."""
    fill(lab, 0)
    with lab.catalog() as catalog:
        table = a_maintainer(catalog, rows_shape(lab.world.definition), lab.data).table
        head = table.head()
        live = table.live(head, 0.0)
        rows = catalog.load_table(ROWS).scan().to_arrow()
        made = lab.world.rows_table().write(rows.slice(1))
        swap = Swap(an_id(), 0.0, tuple(live.by_path.values()), made.handle)
        assert head.marker is not None
        assert isinstance(table.swap(swap, head.marker, head), Committed)
        if is_forgotten:
            table.expire(2)
            old = catalog.load_table(ROWS).snapshots()[0].snapshot_id
            catalog.load_table(ROWS).maintenance.expire_snapshots().by_id(old).commit()

    found = {f.check for f in lab.report().ledger.findings}

    assert found >= {"offsets.complete", "commits.rows"}
