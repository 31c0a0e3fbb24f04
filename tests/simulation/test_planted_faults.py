"""The simulation finds faults: those put in on purpose, and those that it has found before."""

from __future__ import annotations

from inspect import isfunction
from random import Random
from typing import TYPE_CHECKING

import pytest

from highwater.simulate.faults import Fault, Plan
from highwater.simulate.run import simulate
from tests.simulation import planted

if TYPE_CHECKING:
    from tests.simulation.planted import Plant

SEEDS = range(200)  # those of the test run
MORE_SEEDS = range(2_000)

# Fault -> what happens in the seeds that are worth a try, and what is said when it is found.
PURPOSE: dict[Plant, tuple[tuple[Fault, ...], str]] = {
    planted.cut_is_one_too_far: ((), "tail"),
    planted.tail_is_trimmed_before_the_snapshot_is_published: ((), "marker"),
    planted.commit_does_not_look_for_its_own_id: ((Fault.UNKNOWN_LANDED,), ""),
    planted.position_is_the_last_message_plus_one: ((Fault.CONTROL_RECORDS,), "not at the log's"),
    planted.duplicates_are_forgotten_at_a_restart: (
        (Fault.REPEATED_IDS, Fault.SIDECAR_CRASH),
        "rows of the commit",
    ),
    planted.server_forgets_duplicates_at_a_restart: (
        (Fault.REPEATED_IDS, Fault.SERVER_CRASH),
        "tail",
    ),
    planted.epoch_does_not_fence: ((Fault.SECOND_SIDECAR,), ""),
    planted.compaction_is_not_fenced: ((Fault.SECOND_SIDECAR,), "has compacted in epoch"),
    planted.compaction_carries_a_marker_of_before: ((), "a compaction carries"),
    planted.rows_are_committed_before_dead_letters: ((Fault.POISON,), "no dead letters"),
    planted.lane_that_waits_is_said_to_be_read: ((Fault.PINNED_LEVEL,), "rows of the commit"),
    planted.backfill_begins_where_the_live_reader_is: (
        (Fault.PINNED_LEVEL,),
        "rows of the commit",
    ),
    planted.backfill_takes_what_the_live_reader_took: (
        (Fault.PINNED_LEVEL,),
        "rows of the commit",
    ),
    planted.lanes_share_one_memory_of_duplicates: (
        (Fault.PINNED_LEVEL, Fault.REPEATED_IDS),
        "",
    ),
    planted.marker_remembers_as_if_no_lane_had_waited: (
        (Fault.PINNED_LEVEL, Fault.REPEATED_IDS, Fault.SIDECAR_CRASH),
        "tail",
    ),
}
# What the simulation has found in the product, as the undoing of its repair. Others are too rare
# for a search in each test run; each has a test of its own beside the code.
FOUND: dict[Plant, tuple[tuple[Fault, ...], str]] = {
    planted.dead_letters_go_back_after_a_crash: ((Fault.POISON, Fault.SIDECAR_CRASH), "after"),
    planted.tail_remembers_messages_of_a_gap: ((Fault.RETENTION, Fault.REPEATED_IDS), "tail"),
    planted.idle_sidecar_does_not_look_at_its_table: ((Fault.ROLLBACK,), "not at the log's end"),
    planted.copy_of_a_marker_that_was_rolled_back_is_believed: (
        (Fault.ROLLBACK, Fault.FOREIGN_EXPIRY),
        "",
    ),
}
# Seeds that failed once, by what they found. What a seed plays changes with what is drawn from it.
REGRESSIONS = {
    39: "the tail remembered messages of a gap",
    122: "rejects held their segment for ever",
    320: "the dead letters did not note a gap",
    657: "the dead letters' first marker did not note a gap",
    10: "an idle sidecar did not see that its table was rolled back",
    1255: "a log that ends before earlier answers was called a moment",
    2241: "what was read after its commit was kept",
    8715: "a sealed file hid what was trimmed in its middle",
    13719: "a sidecar seeded the duplicate rule from what another one had committed",
    19822: "a truncated log was called a moment while the disk was full",
    3262: "the copy of a marker that was rolled back was believed",
}


def found_by(seeds: range, wanted: tuple[Fault, ...]) -> str:
    """What the first of these seeds says that finds something; empty if none does."""
    for seed in seeds:
        plan = Plan.of(Random(seed))
        if all(f in plan.rates or f in plan.events for f in wanted):
            failures = simulate(seed).result.failures
            if failures:
                return failures[seed]
    return ""


def named(plants: dict[Plant, tuple[tuple[Fault, ...], str]]) -> list[object]:
    return [pytest.param(p, *found, id=p.__name__) for p, found in plants.items()]


@pytest.mark.parametrize(("plant", "wanted", "words"), named(PURPOSE))
def test_a_planted_fault_is_found_within_the_seeds_of_the_test_run(
    plant: Plant, wanted: tuple[Fault, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    found = found_by(SEEDS, wanted)

    assert "InvariantError" in found
    assert words in found


@pytest.mark.parametrize(("plant", "wanted", "words"), named(FOUND))
def test_a_fault_that_the_product_had_is_found_again(
    plant: Plant, wanted: tuple[Fault, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    found = found_by(MORE_SEEDS, wanted)

    assert "InvariantError" in found
    assert words in found


@pytest.mark.parametrize("seed", REGRESSIONS, ids=REGRESSIONS.values())
def test_a_seed_that_failed_once_holds(seed: int) -> None:
    assert simulate(seed).result.failures == {}


def test_every_planted_fault_is_tried() -> None:
    plants = {
        f for f in vars(planted).values() if isfunction(f) and f.__module__ == planted.__name__
    }

    assert plants == {*PURPOSE, *FOUND}
