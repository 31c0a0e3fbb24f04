"""What a sidecar does under a level of the breaker: lanes wait, and come back exactly once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import OperatorError
from contract.health import Code, NoHealth
from contract.levels import Level
from contract.marker import Gap
from contract.table import Lane
from ingest.breaker import Pin
from ingest.gaps import RETENTION
from ingest.patience import Patience
from tests.support.failpoints import HeldWorker
from tests.support.sidecar_world import POISON, SETTINGS, World, offsets_of, trade

if TYPE_CHECKING:
    from tests.support.sidecar_world import Sidecar

HIGH, MEDIUM, LOW = 200, 50, 1  # prices of rows of these lanes


def pinned(level: Level) -> Pin:
    return Pin(level, "a test", math.inf)


class Heard(NoHealth):
    """The conditions that hold."""

    def __init__(self) -> None:
        self.codes: dict[Code, str] = {}

    def set(self, code: Code, text: str) -> None:
        self.codes[code] = text

    def clear(self, *codes: Code) -> None:
        for code in codes:
            self.codes.pop(code, None)


def mixed(world: World, first: int, count: int, partition: int = 0) -> None:
    """So many messages of each lane in turn, a dead letter behind each three."""
    for i in range(first, first + count):
        rows = [trade(f"{lane}-{i}", lane) for lane in (HIGH, MEDIUM, LOW)]
        world.log.append(partition, *rows, POISON)


def committed_to(sidecar: Sidecar, partition: int = 0, turns: int = 200) -> None:
    """Until all that may be committed of the partition is."""
    world = sidecar.world
    for _ in range(turns):
        sidecar.step()
        if world.marker.live_offset(partition) == world.log.end(partition):
            return
    raise AssertionError("it does not come to the end")


@pytest.mark.parametrize(
    ("level", "by_lane"),
    [
        (Level.LIGHT, (80, 80, 80)),
        (Level.MODERATE, (80, 80, 40)),
        (Level.SEVERE, (80, 40, 40)),
        (Level.CRITICAL, (80, 40, 40)),
    ],
)
def test_lanes_wait_by_level_while_the_others_go_on(
    level: Level, by_lane: tuple[int, int, int]
) -> None:
    world = World()
    mixed(world, 0, 10)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.pin = pinned(level)
    sidecar.step(2)
    mixed(world, 10, 10)

    committed_to(sidecar)

    assert world.marker.next == {0: by_lane}
    assert world.marker.level is level
    world.check()


def test_what_waited_is_in_the_table_once_when_the_level_falls() -> None:
    world = World(pin=pinned(Level.SEVERE))
    mixed(world, 0, 20)
    mixed(world, 0, 15, partition=1)
    sidecar = world.sidecar().begin()
    sidecar.step()
    world.pin = None

    sidecar.catch_up()

    world.check()
    assert world.rows.rows().num_rows == 105
    assert world.dead.rows().num_rows == 35
    sidecar.step(30)
    assert world.marker.level is Level.NORMAL


def test_new_messages_of_a_lane_wait_until_those_before_them_are_read() -> None:
    """Live and backfill take turns; the order of each lane stays that of the log."""
    world = World(pin=pinned(Level.MODERATE))
    mixed(world, 0, 30)
    sidecar = world.sidecar().begin()
    committed_to(sidecar)
    world.pin = pinned(Level.NORMAL)

    for i in range(30, 60):
        mixed(world, i, 1)
        sidecar.step()
        world.check()

    sidecar.catch_up()
    world.check()


def test_duplicates_are_dropped_across_the_time_that_a_lane_waited() -> None:
    world = World()
    world.log.append(0, trade("a", LOW), trade("b", LOW), trade("c", HIGH))
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.pin = pinned(Level.MODERATE)
    sidecar.step(2)
    world.log.append(0, trade("b", LOW), trade("c", HIGH), trade("d", LOW), trade("d", LOW))
    committed_to(sidecar)
    world.pin = pinned(Level.NORMAL)

    sidecar.catch_up()

    assert offsets_of(world.rows.rows(), 0).keys() == {0, 1, 2, 5}
    world.check()


def test_a_restart_goes_on_at_the_level_that_was_left_and_reads_live_first() -> None:
    world = World(pin=pinned(Level.SEVERE))
    mixed(world, 0, 10)
    committed_to(world.sidecar().begin())
    mixed(world, 10, 5)
    health = Heard()
    world.health, world.pin = health, None

    second = world.sidecar().begin()

    assert second.log.positions == {0: 40}
    assert health.codes[Code.OVERLOADED].startswith("level SEVERE, the table was left at")
    second.catch_up()
    world.check()
    second.step(20)
    assert Code.OVERLOADED not in health.codes


def test_a_second_sidecar_takes_over_while_lanes_wait() -> None:
    world = World(pin=pinned(Level.SEVERE))
    mixed(world, 0, 10)
    committed_to(world.sidecar().begin())
    world.pin = pinned(Level.NORMAL)
    first = world.sidecar().begin()
    first.step(3)  # in the middle of its backfill

    world.sidecar().begin().catch_up()

    world.check()


def test_a_lane_that_waits_again_in_the_middle_of_its_backfill_goes_on_from_there() -> None:
    world = World(pin=pinned(Level.SEVERE))
    mixed(world, 0, 30)
    sidecar = world.sidecar().begin()
    committed_to(sidecar)

    for level in (Level.NORMAL, Level.MODERATE, Level.SEVERE, Level.LIGHT, Level.MODERATE) * 3:
        world.pin = pinned(level)
        sidecar.step(3)
        world.check()
    world.pin = pinned(Level.NORMAL)

    sidecar.catch_up()
    world.check()


def test_the_backfill_leaves_the_buffer_to_the_live_reader() -> None:
    """No more than half of the buffer is filled while a commit hangs."""
    world = World(pin=pinned(Level.SEVERE))
    mixed(world, 0, 40)
    committed_to(world.sidecar().begin())
    world.pin = pinned(Level.NORMAL)
    committer = HeldWorker()
    sidecar = world.sidecar(committer=committer).begin()

    sidecar.step(30)

    half, polled = SETTINGS.buffer_rows_max // 2, SETTINGS.poll_messages
    assert sidecar.pipeline.held_rows <= half + 2 * polled
    assert not sidecar.log.paused
    world.log.append(0, *(trade(f"new{i}", HIGH) for i in range(3)))
    sidecar.step(2)
    assert sidecar.log.positions == {0: 163}


def test_what_retention_took_from_a_waiting_lane_stops_it_with_advice() -> None:
    world = World(pin=pinned(Level.MODERATE))
    mixed(world, 0, 10)
    sidecar = world.sidecar().begin()
    committed_to(sidecar)
    world.log.delete_before(0, 12)
    world.pin = pinned(Level.NORMAL)

    with pytest.raises(OperatorError, match=r"offsets 4 to 11 .* --accept-gaps"):
        sidecar.step(40)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_accepted_gap_of_a_waiting_lane_is_noted_for_that_lane(restarted: bool) -> None:
    world = World(pin=pinned(Level.MODERATE), settings=replace(SETTINGS, accept_gaps=True))
    mixed(world, 0, 10)
    sidecar = world.sidecar().begin()
    committed_to(sidecar)
    world.log.delete_before(0, 12)
    world.pin = pinned(Level.NORMAL)

    (world.sidecar().begin() if restarted else sidecar).catch_up()

    (gap,) = world.marker.gaps
    assert gap == Gap(0, 4, 12, RETENTION, gap.noted_at_ms, (Lane.LOW,))
    lows = {2} | {o for o in range(12, 40) if o % 4 == 2}  # the first poll was before the pin
    found = offsets_of(world.rows.rows(), 0)
    assert found.keys() == lows | {o for o in range(40) if o % 4 < 2}
    assert set(found.values()) == {1}


def test_a_gap_under_a_waiting_lane_and_the_live_reader_is_told_apart() -> None:
    world = World(pin=pinned(Level.MODERATE), settings=replace(SETTINGS, accept_gaps=True))
    mixed(world, 0, 10)
    committed_to(world.sidecar().begin())
    mixed(world, 10, 10)
    world.log.delete_before(0, 50)
    world.pin = pinned(Level.NORMAL)

    world.sidecar().begin().catch_up()

    told = [(g.from_offset, g.to_offset, g.of_all_lanes) for g in world.marker.gaps]
    assert told == [(4, 40, False), (40, 50, True)]
    rows = offsets_of(world.rows.rows(), 0)
    known = {o for o in range(40) if o % 4 < 2 or o == 2}
    assert rows.keys() == known | {o for o in range(50, 80) if o % 4 < 3}


def test_no_lane_waits_longer_than_it_may() -> None:
    world = World(pin=pinned(Level.SEVERE), settings=replace(SETTINGS, breaker_wait_max_s=20.0))
    mixed(world, 0, 10)
    sidecar = world.sidecar().begin()
    committed_to(sidecar)
    assert max(world.marker.next[0]) > min(world.marker.next[0])

    sidecar.catch_up()

    assert world.marker.level is Level.SEVERE
    assert world.clock.now_s - 1_000.0 >= 20.0
    world.check()
    sidecar.step(4)
    mixed(world, 10, 10)
    committed_to(sidecar)
    assert world.marker.next == {0: (80, 40, 40)}  # caught up, so they may wait again


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)), max_size=30))
def test_a_lane_is_due_if_it_was_behind_for_so_long_and_only_then(
    history: list[tuple[int, int, int]],
) -> None:
    patience, now_s = Patience(10.0, 0.0), 0.0
    caught_up_s = {Lane.MEDIUM: 0.0, Lane.LOW: 0.0}
    for medium, low, lasted in history:
        now_s += lasted
        for lane, behind in ((Lane.MEDIUM, medium), (Lane.LOW, low)):
            caught_up_s[lane] = caught_up_s[lane] if behind else now_s
        before = patience.due

        fresh = patience.update((0, medium, low), now_s)

        assert patience.due == {ln for ln, at_s in caught_up_s.items() if now_s - at_s >= 10.0}
        assert fresh == patience.due - before


def test_a_change_of_level_is_in_the_marker_of_an_idle_topic() -> None:
    world = World()
    mixed(world, 0, 2)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.pin = pinned(Level.CRITICAL)

    sidecar.step(10)

    assert world.marker.level.name == "CRITICAL"
    world.pin = None
    sidecar.step(40)
    assert world.marker.level.name == "NORMAL"


def test_signals_raise_the_level_without_anybody() -> None:
    world = World(
        settings=replace(SETTINGS, breaker_lag_messages=("10:5", "20:10", "40:20", "80:40"))
    )
    mixed(world, 0, 50)
    health = Heard()
    world.health = health
    sidecar = world.sidecar().begin()

    sidecar.step()

    assert "level CRITICAL, lag_messages reached 196 (limit 80)" in health.codes[Code.OVERLOADED]
    sidecar.catch_up()
    world.check()


def test_failed_commits_raise_the_level() -> None:
    world = World()
    mixed(world, 0, 2)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    mixed(world, 2, 2)
    sidecar.pipeline._parts.rows.failures = 9

    sidecar.step(2)

    assert sidecar.pipeline._overload.level is Level.MODERATE


def test_snapshots_are_not_expired_above_normal_and_are_after_it() -> None:
    world = World(pin=pinned(Level.LIGHT))
    sidecar = world.sidecar().begin()
    for i in range(8):
        mixed(world, i, 1)
        committed_to(sidecar)
    assert not world.rows.expired
    world.pin = pinned(Level.NORMAL)

    sidecar.step(10)

    assert world.rows.expired


def test_flushes_get_larger_above_normal() -> None:
    settings = replace(SETTINGS, flush_rows=5, buffer_rows_max=40, flush_interval_s=1_000.0)
    world = World(settings=settings, pin=pinned(Level.LIGHT))
    world.log.append(0, *(trade(f"m{i}") for i in range(8)))
    sidecar = world.sidecar().begin()

    sidecar.step(10)

    assert world.rows.rows().num_rows == 0
    world.log.append(0, *(trade(f"n{i}") for i in range(2)))
    sidecar.step(3)
    assert world.rows.rows().num_rows == 10
