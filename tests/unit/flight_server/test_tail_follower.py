"""Following under trouble: views stop, or go away with words; none is ever wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from contract.errors import UnavailableError
from contract.log import LogProblem, Trouble
from contract.table import Lane
from flight_server.tail.pace import FollowerLimits
from flight_server.tail.runner import TailRunner
from flight_server.view import State
from tests.support.log_model import ModelLog, Poison
from tests.support.view_model import ModelLake, Server, check, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that stands at the end of a log of ten rows, five of them committed."""
    log = ModelLog()
    for i in range(10):
        log.event(0, f"id-{i}")
    made = Server(log, ModelLake(log), tmp_path)
    made.lake.commit({0: (5, 5, 5)})
    made.settle()
    made.step(3, pause_s=1.0)
    yield made
    made.files.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes a server over a log; they are closed at the end."""
    made: list[Server] = []

    def start(log: ModelLog, **options: Any) -> Server:
        made.append(Server(log, ModelLake(log), tmp_path, **options))
        return made[-1]

    yield start
    for each in made:
        each.files.close()


def test_rows_are_visible_before_their_commit(server: Server) -> None:
    server.log.event(0, "new")

    server.follower.step()

    view = server.publisher.current()
    assert [row[1] for row in rows_of(view.tail)] == [5, 6, 7, 8, 9, 10]
    assert view.cut == {0: (11, 11, 11)}


def test_a_commit_moves_the_seam_and_no_row(server: Server) -> None:
    before = server.publisher.current()

    server.lake.commit_all()
    server.refresh()

    after = server.publisher.current()
    assert after.tail == ()
    assert after.cut == before.cut
    check(before, server.log)
    check(after, server.log)


def test_a_view_at_the_end_is_complete_and_one_behind_is_lagging(server: Server) -> None:
    assert server.publisher.current().state is State.COMPLETE

    for i in range(4):
        server.log.event(0, f"more-{i}")
    server.clock.now_s += 1
    server.keeper.step()

    view = server.publisher.current()
    assert (view.state, view.lag_messages) == (State.LAGGING, 4)
    assert view.reason == "4 messages behind the log's end"


def test_a_broker_that_is_gone_stalls_the_view_and_leaves_it_exact(server: Server) -> None:
    server.log.down = True
    server.step(5, pause_s=1.0)
    assert server.publisher.current().state is not State.STALLED

    server.step(12, pause_s=1.0)
    stalled = server.publisher.current()
    server.log.down = False
    server.log.event(0, "new")
    server.step(5, pause_s=1.0)

    assert stalled.state is State.STALLED
    assert stalled.reason == "the broker does not answer: the broker does not answer"
    assert server.publisher.current().state is State.COMPLETE
    check(server.publisher.current(), server.log)


def test_a_problem_that_passes_does_not_stall_an_idle_topic(server: Server) -> None:
    server.source.problems = [LogProblem(Trouble.TRANSIENT, "a connection broke")]

    server.step(15, pause_s=1.0)

    assert server.publisher.current().state is State.COMPLETE


def test_a_follower_that_hangs_is_called_stalled(server: Server) -> None:
    server.clock.now_s += 11

    view = server.publisher.current()

    assert view.state is State.STALLED
    assert view.reason == "the follower has not reported for 12 s"


def test_a_topic_that_was_made_again_ends_all_views(server: Server) -> None:
    server.log.topic_id = "topic-2"

    server.step(15, pause_s=1.0)

    with pytest.raises(UnavailableError, match="'events' was deleted and made again: its id is to"):
        server.publisher.current()


def test_a_topic_that_is_missing_for_a_moment_changes_nothing(server: Server) -> None:
    server.clock.now_s += 10
    server.log.gone = True
    server.step(2)
    server.log.gone = False
    server.step(5, pause_s=1.0)

    assert server.publisher.current().cut == {0: (10, 10, 10)}


def test_a_topic_that_stays_missing_ends_all_views_until_it_is_back(server: Server) -> None:
    server.clock.now_s += 10
    server.log.gone = True
    server.step(5, pause_s=1.1)
    with pytest.raises(UnavailableError, match="does not exist"):
        server.publisher.current()

    server.log.gone = False

    check(server.settle(), server.log)


def test_a_rolled_back_table_is_unavailable_until_the_old_cut_is_reached(server: Server) -> None:
    server.lake.roll_back(1)
    server.refresh()
    with pytest.raises(UnavailableError, match="went back to offset 0 of partition 0"):
        server.publisher.current()

    server.follower.step()
    with pytest.raises(UnavailableError, match="being read again up to where earlier answers"):
        server.publisher.current()
    server.follower.step()

    assert server.publisher.current().cut == {0: (10, 10, 10)}
    check(server.publisher.current(), server.log)


def test_a_table_that_went_back_within_the_tail_is_served_at_once(server: Server) -> None:
    server.lake.commit({0: (8, 8, 8)})
    index = server.publisher.index()
    assert index is not None
    server.refresh()
    server.lake.roll_back(1)
    server.lake.commit({0: (7, 7, 7)})
    server.refresh()

    check(server.publisher.current(), server.log)
    assert server.publisher.current().next == {0: (7, 7, 7)}


def test_a_new_partition_is_read_from_its_beginning(server: Server) -> None:
    server.log.event(1, "first of the new one")

    server.step(15, pause_s=1.0)

    view = server.publisher.current()
    assert view.cut == {0: (10, 10, 10), 1: (1, 1, 1)}
    assert view.next[1] == (0, 0, 0)
    check(view, server.log)


def test_messages_lost_to_retention_stall_the_view_until_the_table_has_them(server: Server) -> None:
    server.log.event(0, "lost")
    server.log.low[0] = 11
    server.step(3, pause_s=1.1)
    stalled = server.publisher.current()

    server.lake.commit({0: (11, 11, 11)})
    server.log.event(0, "after")
    server.step(1)
    server.refresh()
    server.step(5, pause_s=1.1)

    assert stalled.state is State.STALLED
    assert "offsets 10 to 11 of partition 0 were deleted from topic 'events'" in stalled.reason
    assert stalled.cut == {0: (10, 10, 10)}
    assert server.publisher.current().cut == {0: (12, 12, 12)}
    check(server.publisher.current(), server.log)


def test_a_log_that_lost_what_the_tail_had_is_read_again(server: Server) -> None:
    del server.log.entries[0][7:]
    server.source.assign(server.source.positions, server.log.topic_id)
    server.step(5, pause_s=1.1)
    with pytest.raises(UnavailableError, match="ends at offset 7, and 10 was read before"):
        server.publisher.current()

    for i in range(3):
        server.log.event(0, f"after-{i}")

    check(server.settle(), server.log)


def test_a_log_that_lost_what_the_table_has_ends_all_views(server: Server) -> None:
    server.lake.commit_all()
    server.refresh()
    del server.log.entries[0][7:]
    server.source.assign(server.source.positions, server.log.topic_id)

    server.step(10, pause_s=1.1)

    with pytest.raises(UnavailableError, match="ends at offset 7, and 10 was read before"):
        server.publisher.current()


def test_another_definition_than_the_tables_is_refused(serve: Callable[..., Server]) -> None:
    log = ModelLog()
    server = serve(log)
    server.lake.commit({0: (0, 0, 0)})
    marker = server.lake.now[0].marker
    assert marker is not None
    object.__setattr__(marker, "rules_digest", "other")
    server.refresh()
    server.follower.step()

    with pytest.raises(UnavailableError, match="written with other rules for lanes and duplicates"):
        server.publisher.current()


def test_a_server_without_a_broker_says_so_and_comes_up_with_it(
    serve: Callable[..., Server],
) -> None:
    log = ModelLog(down=True)
    log.event(0, "a")
    server = serve(log)
    with pytest.raises(UnavailableError, match="has not been read yet"):
        server.publisher.current()
    server.refresh()
    server.follower.step()
    with pytest.raises(UnavailableError, match="the broker does not answer"):
        server.publisher.current()

    log.down = False

    check(server.settle(), log)


def test_a_log_that_begins_later_is_a_table_that_begins_later(serve: Callable[..., Server]) -> None:
    log = ModelLog()
    for i in range(6):
        log.event(0, f"id-{i}")
    log.low[0] = 4
    server = serve(log)

    view = server.settle()

    assert [row[1] for row in rows_of(view.tail)] == [4, 5]
    assert view.next == {0: (4, 4, 4)}


def test_at_the_cap_the_cut_stops_and_goes_on_after_a_commit(serve: Callable[..., Server]) -> None:
    log = ModelLog()
    limits = FollowerLimits(poll_messages=5, open_bytes=400)
    server = serve(log, cap_bytes=150_000, limits=limits)
    for i in range(400):
        log.event(0, f"id-{i}")
    server.refresh()
    server.step(200, pause_s=0.3)

    stalled = server.publisher.current()
    assert stalled.state is State.STALLED
    assert "size limit" in stalled.reason
    assert 0 < stalled.cut[0][0] < 400
    assert server.files.byte_count <= 150_000
    check(stalled, log)

    server.lake.commit({0: (stalled.cut[0][0],) * 3})
    server.refresh()
    server.step(20, pause_s=0.3)
    assert server.publisher.current().cut[0][0] > stalled.cut[0][0]
    server.lake.commit_all()
    check(server.settle(), log)


def test_rejects_stay_until_the_dead_letters_have_them(server: Server) -> None:
    server.log.produce(0, Poison(server.log.now_us))
    server.follower.step()
    server.lake.commit_all()
    behind = server.lake.history[-1][0], server.lake.history[1][1]

    server.publisher.on_lake(*behind)
    server.log.event(0, "later")
    server.follower.step()
    early = server.publisher.current()
    server.refresh()

    assert [b.num_rows for b in early.dead_tail] == [1]
    assert server.publisher.current().dead_tail == ()


@pytest.mark.parametrize("warm", [True, False])
def test_a_deferred_lane_stays_in_the_tail_over_a_restart(server: Server, warm: bool) -> None:
    for i in range(6):
        server.log.event(0, f"low-{i}", Lane.LOW)
        server.log.event(0, f"high-{i}", Lane.HIGH)
    server.step(10)
    server.lake.commit({0: (22, 22, 5)})
    server.refresh()
    check(server.publisher.current(), server.log)

    server.files.close()
    if not warm:
        shutil.rmtree(server.directory)
    server.start()
    view = server.settle()

    assert {row[2] for row in rows_of(view.tail)} == {f"low-{i}" for i in range(6)}
    assert warm or sum(held.segment.row_count for held in view.held) == 6
    check(view, server.log)


def test_a_killed_server_comes_back_warm(server: Server) -> None:
    while server.keeper.seal(everything=True):
        pass
    server.files.close()
    server.start()
    server.refresh()

    server.follower.step()

    assert server.source.assigned == [{0: 10}]
    assert server.publisher.current().cut == {0: (10, 10, 10)}
    check(server.publisher.current(), server.log)


def test_the_threads_follow_and_stop_in_order(server: Server) -> None:
    runner = TailRunner("events", server.follower, server.keeper, server.publisher, server.files)
    server.log.event(0, "new")

    runner.start()
    for _ in range(10_000):
        if server.publisher.current().cut[0][0] == 11:
            break
    stopped = runner.stop(timeout_s=10)

    assert stopped
    index = server.publisher.index()
    assert index is not None
    assert index.open == ()
    check(server.publisher.current(), server.log)


def test_a_segment_goes_when_its_rejects_are_dead_letters_whatever_else_it_spans(
    serve: Callable[..., Server],
) -> None:
    """The dead letters' marker moves with dead letters only: it may never reach partition 1."""
    log = ModelLog(entries={0: [], 1: []})
    server = serve(log)
    server.lake.commit({0: (0, 0, 0), 1: (0, 0, 0)})
    server.refresh()
    log.produce(0, Poison(log.now_us))
    log.event(1, "a")
    server.step(3)
    server.lake.commit_all()
    rows, dead = server.lake.now
    assert dead.marker is not None
    server.lake.history[-1] = (
        rows,
        replace(dead, marker=replace(dead.marker, next={0: (1, 1, 1), 1: (0, 0, 0)})),
    )

    server.refresh()

    index = server.publisher.index()
    assert index is not None
    assert index.held == ()
    assert server.publisher.restart_wanted() == ""


def test_what_is_read_after_its_commit_is_not_kept(server: Server) -> None:
    """The sidecar was faster, and the topic is silent: no later commit would take it away."""
    for i in range(3):
        server.log.event(0, f"more-{i}")
    server.lake.commit_all()
    server.refresh()

    server.follower.step()

    index = server.publisher.index()
    assert index is not None
    assert index.held == ()
    assert server.publisher.current().cut == {0: (13, 13, 13)}


def test_a_sealed_range_does_not_hide_what_was_trimmed_in_its_middle(
    serve: Callable[..., Server],
) -> None:
    """A rollback below it, and a start on the files: the rows in the hole are in neither."""
    log = ModelLog(entries={0: [], 1: []})
    server = serve(log)
    server.lake.commit({0: (0, 0, 0), 1: (0, 0, 0)})
    server.refresh()
    for partition, count in ((0, 1), (1, 3), (1, 1)):
        for i in range(count):
            log.event(partition, f"{partition}-{log.end(partition)}-{i}")
        server.step()
    server.lake.commit({0: (0, 0, 0), 1: (4, 4, 4)})
    server.refresh()
    log.event(1, "last")
    server.step()
    server.seal_all()
    index = server.publisher.index()
    assert index is not None
    assert [dict(h.segment.ranges) for h in index.sealed] == [{0: (0, 1), 1: (0, 5)}]

    server.files.close()
    server.lake.roll_back(1)
    server.start()

    check(server.settle(), log)


def test_a_poll_waits_longer_while_few_messages_come() -> None:
    limits = FollowerLimits(poll_s=0.003, quiet_poll_s=0.01, busy_messages=64)

    assert limits.wait_s(0) == limits.wait_s(63) == 0.01
    assert limits.wait_s(64) == limits.wait_s(10_000) == 0.003
    assert FollowerLimits(poll_s=0.5).wait_s(0) == 0.5
