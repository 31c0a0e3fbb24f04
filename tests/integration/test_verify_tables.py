"""`highwater verify` over real tables of a scripted log: what history may look like."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from contract.decode import Decoder
from contract.lanes import lanes_of
from contract.levels import Level
from contract.marker import Gap, Marker
from contract.table import Lane
from highwater.simulate.log import Message
from highwater.simulate.scheduler import SimulatedCrash
from ingest.breaker import Pin
from ingest.ports import NOTHING_WRITTEN
from tests.support.failpoints import CrashAt
from tests.support.sidecar_world import DEFINITION, POISON, SETTINGS, trade, with_rules
from tests.support.verify_lab import DEAD, ROWS, changed
from tests.support.verify_world import ScriptedLab, ScriptedTopic

if TYPE_CHECKING:
    from pathlib import Path

    from highwater.verify.audit import TableReport


@pytest.fixture
def lab(tmp_path: Path) -> ScriptedLab:
    return ScriptedLab(tmp_path)


def reasons(report: TableReport, check: str) -> list[str]:
    return [s.reason for s in report.ledger.states() if s.check == check and s.table == ROWS]


def test_rows_dead_letters_duplicates_and_holes_are_all_accounted_for(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, *(trade(f"a{i}", 10 * i) for i in range(12)))
    log.append(1, trade("b"), POISON, None, trade("b"), trade("c", 1), trade("d", 500), None)
    lab.ingest()

    report = lab.report()

    assert report.ledger.findings == []
    (zero, one) = report.ranges
    assert (zero.log_rows, zero.holes) == (12, 0)
    assert (one.log_rows, one.dead_letters, one.duplicates, one.holes) == (3, 1, 1, 2)


@pytest.mark.parametrize("strip_rows", [1, 3, 1_000])
def test_a_duplicate_behind_the_logs_start_is_recognised_by_the_tables_rows(
    lab: ScriptedLab, strip_rows: int
) -> None:
    log = lab.world.log
    log.append(0, trade("a"), trade("b"), trade("a"), trade("c"), trade("b"))
    lab.ingest()
    log.delete_before(0, 2)

    report = lab.report(strip_rows=strip_rows)

    assert report.ledger.findings == []
    assert [(r.structure_rows, r.log_rows, r.duplicates) for r in report.ranges] == [(2, 1, 2)]


def test_retention_that_moves_while_it_reads_is_no_finding(lab: ScriptedLab) -> None:
    lab.world.log.append(0, *(trade(f"a{i}") for i in range(12)))
    lab.ingest()
    lab.before_reading = lambda: lab.world.log.delete_before(0, 8)

    report = lab.report()

    assert report.ledger.findings == []
    assert [r.log_from for r in report.ranges] == [8]


def test_an_accepted_gap_is_none(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, *(trade(f"a{i}") for i in range(4)))
    lab.ingest()
    log.append(0, *(trade(f"b{i}") for i in range(6)))
    log.delete_before(0, 7)
    lab.world.settings = replace(SETTINGS, accept_gaps=True)
    lab.ingest()

    report = lab.report()

    assert report.ledger.findings == []
    assert report.marker is not None
    assert len(report.marker.gaps) == 1


def test_a_lane_that_waits_and_one_that_has_waited_are_right(lab: ScriptedLab) -> None:
    """Rows, duplicates and dead letters of a table whose lanes are not level are all accounted."""
    lab.world.pin = Pin(Level.SEVERE, "a test", math.inf)
    for i in range(6):
        again = trade(f"low{i}", 1)
        lab.world.log.append(0, trade(f"high{i}", 200), again, POISON, trade(f"m{i}"), again)
    with lab.catalog() as catalog:
        lab.world.catalog = catalog
        sidecar = lab.world.sidecar().begin()
        sidecar.step(30)

    report = lab.report()

    assert report.ledger.findings == []
    assert report.marker is not None
    high, medium, low = report.marker.next[0]
    assert low < high
    assert medium < high == 30
    lab.world.pin = Pin(Level.NORMAL, "a test", math.inf)
    lab.ingest()
    assert lab.report().ledger.findings == []


def test_a_gap_of_one_lane_excuses_no_other(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, *(trade(f"a{i}") for i in range(4)))
    lab.ingest()
    marker = lab.marker()
    assert marker is not None
    forged = replace(marker, next={0: (8, 8, 8)}, epoch=marker.epoch + 1, commit_id="forged")
    log.append(0, *(trade(f"b{i}") for i in range(4)))
    gap = Gap(0, 4, 8, "a test", 0)
    lab.commit_marker(replace(forged, gaps=(replace(gap, lanes=(Lane.MEDIUM,)),)))
    assert not [f for f in lab.report().ledger.findings if f.check == "offsets.complete"]

    other = replace(gap, lanes=(Lane.LOW,))
    lab.commit_marker(replace(forged, gaps=(other,), commit_id="forged again"))

    assert {(f.from_offset, f.to_offset) for f in lab.findings("offsets.complete")} == {(4, 8)}


def test_dead_letters_that_are_ahead_after_a_crash_are_right(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, trade("a"), POISON)
    lab.ingest()
    log.append(0, POISON, trade("b"), POISON)
    with lab.catalog() as catalog:
        lab.world.catalog = catalog
        sidecar = lab.world.sidecar(CrashAt("rows.before_commit", 2)).begin()
        with pytest.raises(SimulatedCrash):
            sidecar.catch_up()

    assert lab.report().ledger.findings == []
    lab.ingest()
    assert lab.report().ledger.findings == []


def test_other_rules_than_the_markers_are_said_and_their_checks_skipped(lab: ScriptedLab) -> None:
    lab.world.log.append(0, trade("a"), trade("a"), trade("b", 200), POISON)
    lab.ingest()

    report = lab.report(definition=with_rules(DEFINITION, duplicate_window_us=1))

    assert report.ledger.findings == []
    assert "rules are not those of the marker" in reasons(report, "offsets.complete")[0]
    assert [r.unjudged for r in report.ranges] == [1]
    with lab.table() as table:
        table.append(table.scan(row_filter="_offset = 2").to_arrow())
    found = lab.report(definition=with_rules(DEFINITION, duplicate_window_us=1)).ledger.findings
    assert "offsets.once" in {f.check for f in found}


def test_a_known_change_of_the_rules_is_followed(lab: ScriptedLab) -> None:
    """The second "a" is kept, because the memory starts afresh with the new rules."""
    world = lab.world
    world.settings = replace(SETTINGS, expire_every_commits=0)
    world.log.append(0, trade("a"), trade("a"))
    lab.ingest()
    world.definition = with_rules(DEFINITION, duplicate_window_us=60_000_000)
    world.log.append(0, trade("a"), trade("a"))
    lab.ingest()

    report = lab.report()

    assert report.ledger.findings == []
    assert [(r.log_rows, r.duplicates, r.unjudged) for r in report.ranges] == [(2, 1, 1)]


def test_a_compacted_topic_may_have_lost_what_the_table_has(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, trade("a"), trade("b"), trade("a"), POISON, trade("c"))
    lab.ingest()
    log.partitions[0][0] = log.partitions[0][3] = None  # the first "a", and the poison

    lab.compacted = True
    report = lab.report()
    lab.compacted = False

    assert report.ledger.findings == []
    assert "compacted" in reasons(report, "offsets.complete")[0]
    assert {(f.table, f.from_offset) for f in lab.findings("offsets.expected")} == {
        (ROWS, 0),
        (DEAD, 3),
    }


def test_a_table_that_was_only_made_is_no_finding(lab: ScriptedLab) -> None:
    with lab.catalog() as catalog:
        lab.world.catalog = catalog
        lab.world.rows_table()
        lab.world.dead_table()

    report = lab.report()

    assert report.ledger.findings == []
    assert reasons(report, "marker.present") == ["nothing has been committed yet"]


def test_rows_without_any_marker_are_a_finding(lab: ScriptedLab) -> None:
    lab.world.log.append(0, trade("a"))
    with lab.catalog() as catalog:
        lab.world.catalog = catalog
        lab.world.rows_table()
        lab.world.dead_table()
        rows = lab.world.expected()
        assert rows
        table = catalog.load_table(ROWS)
        empty = table.scan().to_arrow()
        table.append(empty)
    with lab.table() as table:
        made = [{"id": "x", "at": 1, "price": 1, "_partition": 0, "_offset": 0, "_timestamp": 1}]
        table.append(type(empty).from_pylist(made, schema=DEFINITION.stored_schema))

    assert lab.findings("marker.present")[0].table == ROWS


def test_a_memory_that_the_marker_tells_wrongly_is_found(lab: ScriptedLab) -> None:
    lab.world.log.append(0, *(trade(f"a{i}") for i in range(6)))
    lab.ingest()
    marker = changed(lab.marker())
    high, medium, low = marker.remembered[0]
    wrong = (high, medium._replace(from_offset=medium.from_offset + 1), low)
    lab.commit_marker(replace(marker, remembered={0: wrong}))

    (found,) = lab.findings("marker.remembered")

    assert "lane MEDIUM" in found.text


def _with_a_lane_behind(lab: ScriptedLab, low_until: int) -> None:
    """A claim, then all rows but those of lane LOW from offset `low_until` on; its mark is 4."""
    world = lab.world
    world.log.append(0, *(trade(f"m{i}", price) for i, price in enumerate([50, 5, 200, 5] * 3)))
    held = ScriptedTopic(world.log).messages(0, 0, 12)[1]
    rows = Decoder(DEFINITION).decode(held).rows
    low = lanes_of(DEFINITION, rows) == Lane.LOW
    stored = rows.filter(pa.array(~low | (np.arange(12) < low_until)))
    start = Marker("trades", "topic-1", 1, "c1", {0: (0, 0, 0)}, {}, 0, 0, 0, 0, 0, "")
    first = replace(start, rules_digest=DEFINITION.rules_digest)
    counted = int((~low | (np.arange(12) < 4)).sum())
    second = replace(first, commit_id="c2", next={0: (12, 12, 4)}, rows=counted)
    with lab.catalog() as catalog:
        world.catalog = catalog
        world.dead_table()
        table = world.rows_table()
        table.commit(NOTHING_WRITTEN, first, table.head())
        table.commit(table.write(pa.Table.from_batches([stored])), second, table.head())


def test_a_lane_that_is_behind_is_held_against_its_own_mark(lab: ScriptedLab) -> None:
    _with_a_lane_behind(lab, low_until=4)

    assert lab.report().ledger.findings == []


def test_a_row_beyond_the_mark_of_its_lane_is_found(lab: ScriptedLab) -> None:
    _with_a_lane_behind(lab, low_until=6)

    (behind,) = lab.findings("marker.behind")

    assert (behind.partition, behind.from_offset, behind.to_offset) == (0, 5, 6)
    assert {f.check for f in lab.findings()} == {"marker.behind", "commits.rows"}


def test_a_lost_row_of_a_lane_that_is_behind_is_found(lab: ScriptedLab) -> None:
    _with_a_lane_behind(lab, low_until=2)

    (lost,) = lab.findings("offsets.complete")

    assert (lost.from_offset, lost.to_offset) == (3, 4)


def test_late_and_early_timestamps_do_not_confuse_the_rule(lab: ScriptedLab) -> None:
    log = lab.world.log
    for i, at_s in enumerate([1_000, 1_030, 1_000, 1_005, 1_041, 1_040, 990, 1_052]):
        log.append(0, trade(f"m{i % 3}", timestamp_s=at_s))
    log.append(0, Message(None), trade("m0", 500), trade("m0", 500), trade("m0", 1))
    lab.ingest(times=2)

    assert lab.report().ledger.findings == []
