"""The sidecar's loop over a scripted log and tables in memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from contract.errors import OperatorError, UnavailableError
from contract.log import LogProblem, Trouble
from contract.marker import MARKER_KEY, Marker
from contract.table import Lane
from highwater.simulate.log import Log, Message
from highwater.simulate.table import Fault, MemoryTable
from ingest.commit import FencedError
from tests.support.failpoints import HeldWorker
from tests.support.sidecar_world import POISON, SETTINGS, World, offsets_of, trade, with_rules


def a_world(messages: int = 10, **changes: object) -> World:
    world = World(**changes)  # type: ignore[arg-type]
    world.log.append(0, *(trade(f"m{i}") for i in range(messages)))
    return world


def test_everything_in_the_log_is_in_the_table_once() -> None:
    world = a_world(30)

    world.sidecar().begin().catch_up()

    world.check()
    assert world.marker.next == {0: (30, 30, 30)}


def test_rows_dead_letters_and_duplicates_add_up_to_the_messages() -> None:
    world = World()
    world.log.append(
        0, trade("a"), POISON, trade("a"), None, trade("b", 200), trade("c", 1), POISON
    )

    world.sidecar().begin().catch_up()

    world.check()
    marker = world.marker
    assert (marker.rows, marker.dead_letters, marker.duplicates) == (3, 2, 1)
    assert offsets_of(world.rows.rows(), 0).keys() == {0, 4, 5}
    assert offsets_of(world.dead.rows(), 0).keys() == {1, 6}
    assert world.marker.next_offset(0) == 7


def test_tombstones_are_counted_among_the_dead_letters() -> None:
    world = World()
    tombstone = Message(None, key=b"k")
    world.log.append(0, trade("a"), tombstone, POISON, tombstone)

    world.sidecar().begin().catch_up()

    assert (world.marker.dead_letters, world.marker.tombstones) == (3, 2)
    assert world.dead.rows()["reason"].to_pylist().count("tombstone") == 2


def test_the_first_start_takes_the_log_from_its_first_offset_without_a_gap() -> None:
    world = a_world(10)
    world.log.delete_before(0, 4)

    world.sidecar().begin().catch_up()

    assert offsets_of(world.rows.rows(), 0).keys() == set(range(4, 10))
    assert world.marker.gaps == ()


def test_a_restart_goes_on_where_the_table_ends() -> None:
    world = a_world(10)
    world.sidecar().begin().catch_up()
    world.log.append(0, *(trade(f"n{i}") for i in range(5)))

    second = world.sidecar().begin()

    assert second.log.positions == {0: 10}
    second.catch_up()
    world.check()


def test_a_duplicate_is_dropped_across_a_restart() -> None:
    world = World()
    world.log.append(0, trade("a"), trade("b"))
    world.sidecar().begin().catch_up()
    world.log.append(0, trade("a"), trade("c"))

    world.sidecar().begin().catch_up()

    assert offsets_of(world.rows.rows(), 0).keys() == {0, 1, 3}
    world.check()


def test_a_position_behind_control_records_alone_is_committed() -> None:
    world = a_world(2)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.append(0, None, None)

    sidecar.catch_up()

    assert world.marker.next_offset(0) == 4
    assert world.rows.rows().num_rows == 2


def test_an_idle_topic_makes_no_commits() -> None:
    world = a_world(3)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    commits = len(world.rows.all())

    sidecar.step(50)

    assert len(world.rows.all()) == commits


def test_messages_that_are_delivered_again_are_dropped() -> None:
    world = a_world(6)
    world.log.append(0, POISON)
    sidecar = world.sidecar().begin()
    sidecar.step()
    sidecar.log.redeliver = 4
    sidecar.step()
    sidecar.log.redeliver = 7

    sidecar.catch_up()

    world.check()


def test_new_partitions_are_taken_from_their_start() -> None:
    world = a_world(4)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.append(1, trade("p1-a"), POISON, trade("p1-b"))

    sidecar.catch_up()

    world.check()
    assert world.marker.next == {0: (4,) * 3, 1: (3,) * 3}


def test_fetching_pauses_at_the_bound_while_a_commit_hangs_and_goes_on_after_it() -> None:
    world = a_world(100)
    committer = HeldWorker()
    sidecar = world.sidecar(committer=committer).begin()

    sidecar.step(20)

    assert sidecar.log.paused == {0}
    assert sidecar.log.positions[0] <= SETTINGS.buffer_rows_max + SETTINGS.poll_messages
    while world.marker.next_offset(0) < 100:
        committer.release()
        sidecar.step()
    assert sidecar.log.paused == set()
    world.check()


def test_a_second_sidecar_fences_the_first() -> None:
    world = a_world(3)
    first = world.sidecar().begin()
    second = world.sidecar().begin()

    with pytest.raises(FencedError, match="another sidecar took over"):
        first.catch_up()

    second.catch_up()
    world.check()


def test_a_second_sidecar_fences_the_dead_letters_of_the_first() -> None:
    world = World()
    world.log.append(0, POISON)
    first = world.sidecar().begin()
    second = world.sidecar().begin()

    with pytest.raises(FencedError, match="took over table dead"):
        first.catch_up()

    second.catch_up()
    world.check()


def test_retention_before_the_start_stops_it_with_advice() -> None:
    world = a_world(10)
    world.sidecar().begin().catch_up()
    world.log.append(0, *(trade(f"n{i}") for i in range(10)))
    world.log.delete_before(0, 15)

    with pytest.raises(OperatorError, match=r"offsets 10 to 14 .* --accept-gaps"):
        world.sidecar().begin()


def test_an_accepted_gap_is_noted_in_the_marker_and_passed() -> None:
    world = a_world(10)
    world.sidecar().begin().catch_up()
    world.log.append(0, *(trade(f"n{i}") for i in range(10)))
    world.log.delete_before(0, 15)
    world.settings = replace(SETTINGS, accept_gaps=True)

    world.sidecar().begin().catch_up()

    gap = world.marker.gaps[0]
    assert (gap.partition, gap.from_offset, gap.to_offset) == (0, 10, 15)
    assert offsets_of(world.rows.rows(), 0).keys() == {*range(10), *range(15, 20)}


def test_retention_while_running_is_found_out() -> None:
    world = a_world(10)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.append(0, *(trade(f"n{i}") for i in range(10)))
    world.log.delete_before(0, 12)

    with pytest.raises(OperatorError, match="--accept-gaps"):
        sidecar.step(5)


def test_an_accepted_gap_while_running_is_noted_and_passed() -> None:
    world = a_world(10, settings=replace(SETTINGS, accept_gaps=True))
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.append(0, *(trade(f"n{i}") for i in range(10)))
    world.log.delete_before(0, 12)

    sidecar.catch_up()

    assert [(g.from_offset, g.to_offset) for g in world.marker.gaps] == [(10, 12)]
    assert offsets_of(world.rows.rows(), 0).keys() == {*range(10), *range(12, 20)}


def test_a_truncated_log_stops_it() -> None:
    world = a_world(10)
    world.sidecar().begin().catch_up()
    del world.log.partitions[0][5:]

    with pytest.raises(OperatorError, match="truncated"):
        world.sidecar().begin()


def test_a_topic_made_again_before_the_start_stops_it() -> None:
    world = a_world(4)
    world.sidecar().begin().catch_up()
    world.log.recreate()

    with pytest.raises(OperatorError, match="deleted and made again"):
        world.sidecar().begin()


def test_a_topic_made_again_while_running_stops_it() -> None:
    world = a_world(4)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.recreate()

    with pytest.raises(OperatorError, match="deleted and made again while it was read"):
        sidecar.step(10)


def test_no_message_of_a_topic_made_again_is_committed() -> None:
    """It is caught at the flush, before any periodic look, and even if the client is unaware."""
    world = a_world(2, settings=replace(SETTINGS, topic_check_s=1e6))
    sidecar = world.sidecar().begin()
    sidecar.log.aware = False
    sidecar.catch_up()
    before = world.rows.rows().num_rows
    world.log.recreate()
    world.log.append(0, *(trade(f"new{i}") for i in range(20)))

    with pytest.raises(OperatorError, match="deleted and made again while it was read"):
        sidecar.step(10)

    assert world.rows.rows().num_rows == before


def test_a_client_that_notices_another_topic_stops_it_at_once() -> None:
    world = a_world(2, settings=replace(SETTINGS, topic_check_s=1e6, flush_interval_s=1e6))
    sidecar = world.sidecar().begin()
    world.log.recreate()

    with pytest.raises(OperatorError, match="deleted and made again while it was read"):
        sidecar.step(3)


def test_a_marker_of_another_topic_stops_it() -> None:
    world = a_world(4)
    world.sidecar().begin().catch_up()
    world.log = Log(topic="quotes", topic_id=world.log.topic_id)

    with pytest.raises(OperatorError, match="holds topic 'trades', not 'quotes'"):
        world.sidecar().begin()


def test_rows_without_a_marker_stop_it() -> None:
    world = a_world(4)
    other = a_world(4)
    other.sidecar().begin().catch_up()
    world.rows.add(other.rows.rows(), None)

    with pytest.raises(OperatorError, match="holds rows but no marker"):
        world.sidecar().begin()


def test_other_rules_are_taken_over_when_all_lanes_are_level() -> None:
    world = a_world(4)
    world.sidecar().begin().catch_up()
    world.definition = with_rules(world.definition, lane_rules=())
    world.log.append(0, trade("m3"), trade("x"))

    world.sidecar().begin().catch_up()

    assert world.marker.rules_digest == world.definition.rules_digest
    assert offsets_of(world.rows.rows(), 0).keys() == set(range(6))  # remembered ids start afresh


def test_other_rules_are_refused_while_a_lane_is_behind() -> None:
    world = a_world(4)
    world.sidecar().begin().catch_up()
    uneven = replace(world.marker, commit_id="uneven", next={0: (4, 4, 2)})
    world.rows.add(world.rows.schema.empty_table(), uneven)
    world.definition = with_rules(world.definition, lane_rules=())

    with pytest.raises(OperatorError, match="while a lane is behind"):
        world.sidecar().begin()


def test_a_lane_that_is_behind_is_read_again_alone() -> None:
    world = World()
    world.log.append(0, trade("h0", 200), trade("l1", 1), trade("h2", 200), trade("m3"), POISON)
    world.sidecar().begin().catch_up()
    marker = world.marker
    without_low = world.rows.rows().filter([True, False, True, True])
    world.rows.expired.clear()
    world.rows.snapshots.clear()
    world.rows.head = None
    shed = replace(marker, next={0: (5, 5, 0)})
    world.rows.add(without_low, shed)

    world.sidecar().begin().catch_up()

    world.check()
    assert world.marker.next == {0: (5, 5, 5)}


def test_a_broker_that_is_away_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = a_world(10)
    sidecar = world.sidecar().begin()
    sidecar.step()
    world.log.down = True
    with caplog.at_level(logging.WARNING):
        sidecar.step(2)
    world.log.down = False

    sidecar.catch_up()

    world.check()
    assert "all brokers are down" in caplog.text


def test_a_problem_of_the_client_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    world = a_world(1)
    sidecar = world.sidecar().begin()
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            sidecar.log.problems.append(LogProblem(Trouble.TRANSIENT, "something odd"))
            sidecar.step()

    assert caplog.text.count("something odd") == 1


def test_stopping_commits_what_was_read() -> None:
    world = a_world(3)
    sidecar = world.sidecar().begin()
    sidecar.step()
    assert world.rows.rows().num_rows == 0
    sidecar.stop.request()

    sidecar.pipeline.finish()

    assert world.rows.rows().num_rows == 3
    world.check()


def test_stopping_gives_up_at_its_deadline() -> None:
    world = a_world(3)
    sidecar = world.sidecar().begin()
    sidecar.step()
    world.rows.faults.extend([Fault.UNAVAILABLE] * 1000)
    sidecar.stop.request()
    before_s = world.clock.now_s

    with pytest.raises(UnavailableError, match="no time is left"):
        sidecar.pipeline.finish()

    assert world.clock.now_s - before_s < 32


def test_the_groups_offsets_follow_the_commits() -> None:
    world = a_world(7)
    sidecar = world.sidecar().begin()

    sidecar.catch_up()
    sidecar.step()

    assert sidecar.log.hints[-1] == {0: 7}


def test_one_line_is_logged_per_commit(caplog: pytest.LogCaptureFixture) -> None:
    world = a_world(4)
    with caplog.at_level(logging.INFO, logger="ingest"):
        sidecar = world.sidecar().begin()
        sidecar.catch_up()
        sidecar.step()

    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("committed")]
    assert len(lines) == 1
    for part in ("rows=4", "files=1", "bytes=", "duration_ms=", "lag=0"):
        assert part in lines[0]


def test_run_works_until_it_is_stopped_and_leaves_the_log() -> None:
    world = a_world(3)
    sidecar = world.sidecar()
    sidecar.stop.request()

    sidecar.pipeline.run()

    assert sidecar.log.closed
    assert not world.rows.snapshots


def test_a_message_that_is_delivered_again_is_no_duplicate() -> None:
    world = a_world(8)
    sidecar = world.sidecar().begin()
    sidecar.step()
    sidecar.log.redeliver = 4

    sidecar.catch_up()

    markers = [Marker.from_json(s.summary[MARKER_KEY]) for s in world.rows.all()]
    assert sum(m.duplicates for m in markers) == 0
    assert sum(m.rows for m in markers) == 8


def test_the_marker_remembers_the_newest_rows_only() -> None:
    """Four rows per lane in this definition: a restart reads no more than that."""
    world = a_world(30)

    world.sidecar().begin().catch_up()

    medium = world.marker.remembered[0][Lane.MEDIUM]
    assert medium.from_offset == 26


def test_an_idle_sidecar_finds_out_that_its_table_went_back() -> None:
    """Nothing is committed any more, so no commit can find it out."""
    world = a_world(10)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.rows.head = 1
    assert world.marker.next_offset(0) < 10

    with pytest.raises(OperatorError, match="changed from outside"):
        sidecar.step(20)


def test_an_idle_sidecar_finds_out_that_another_took_over() -> None:
    world = a_world(4)
    first = world.sidecar().begin()
    first.catch_up()
    world.sidecar().begin()

    with pytest.raises(FencedError):
        first.step(20)


def test_a_table_that_does_not_answer_is_checked_again_later() -> None:
    world = a_world(4)
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.rows.faults.append(Fault.NO_HEAD)

    sidecar.step(20)

    assert not world.rows.faults
    world.rows.head = 1
    with pytest.raises(OperatorError, match="changed from outside"):
        sidecar.step(20)


def test_the_dead_letters_note_a_gap_in_the_commit_that_steps_over_it() -> None:
    """They are committed first: a reader may see them while the rows are still before the gap."""
    world = a_world(10, settings=replace(SETTINGS, accept_gaps=True))
    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    world.log.append(0, POISON, trade("a"), POISON)
    world.log.delete_before(0, 12)

    sidecar.catch_up()

    marker = MemoryTable(world.dead).head().marker
    assert marker is not None
    assert [(g.from_offset, g.to_offset) for g in marker.gaps] == [(10, 12)]
    assert marker.next_offset(0) == 13


def test_a_sidecar_that_is_overtaken_while_it_starts_does_not_seed_from_the_others_rows() -> None:
    """It would take its own messages for repetitions, and a rollback would let it commit."""
    world = a_world(10)
    slow = world.sidecar()
    slow.pipeline._parts.dead.claim = overtaken(world, slow.pipeline._parts.dead.claim)  # type: ignore[method-assign]

    with pytest.raises(FencedError, match="while this one started"):
        slow.begin()


def overtaken(world: World, claim: Any) -> Any:
    """After this claim, and before the next step, another sidecar commits all there is."""

    def and_then(make: Any) -> Any:
        claimed = claim(make)
        world.sidecar().begin().catch_up()
        return claimed

    return and_then
