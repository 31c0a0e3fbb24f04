from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from contract.clock import SystemClock
from contract.errors import CancelledError, LimitError, NotFoundError, UnavailableError
from flight_server.running import REMEMBERED, Queries, Running
from flight_server.security.identity import Identity
from flight_server.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

ME, OTHER = Identity("me"), Identity("other")
ADMIN = Identity("root", admin=True)


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def never() -> bool:
    return False


def begin(queries: Queries, is_cancelled: Callable[[], bool] = never) -> Running:
    return queries.begin("SELECT 1", ME.principal, is_cancelled, threading.Event())


def shown(queries: Queries, identity: Identity = ME) -> list[tuple[object, ...]]:
    return [(row[0], row[3]) for row in queries.rows(identity)]


def test_what_runs_and_what_did_is_shown_newest_first() -> None:
    queries = Queries(SystemClock())
    first, second, third = begin(queries), begin(queries), begin(queries)

    queries.close(first, None)
    queries.close(second, LimitError("too much"))

    assert shown(queries) == [(3, "queued"), (2, "failed"), (1, "finished")]
    queries.close(third, GeneratorExit())
    assert shown(queries)[0] == (3, "cancelled")
    assert next(queries.rows(ME))[4] is None


def test_only_the_last_are_remembered() -> None:
    queries = Queries(SystemClock())
    for _ in range(REMEMBERED + 5):
        queries.close(begin(queries), None)

    rows = shown(queries)
    assert len(rows) == REMEMBERED
    assert rows[-1][0] == 6


def test_others_see_and_cancel_nothing_and_an_admin_everything() -> None:
    queries = Queries(SystemClock())
    running = begin(queries)
    assert shown(queries, OTHER) == []
    with pytest.raises(NotFoundError, match="see system"):
        queries.cancel(running.query_id, OTHER)
    running.check()

    assert len(shown(queries, ADMIN)) == 1
    queries.cancel(running.query_id, ADMIN)
    with pytest.raises(CancelledError, match="cancelled by root"):
        running.check()


def test_the_engine_is_stopped_at_once_also_if_it_begins_only_then() -> None:
    queries = Queries(SystemClock())
    running = begin(queries)
    stopped: list[int] = []
    running.attach(lambda: stopped.append(1))

    running.end(CancelledError("enough"))
    running.attach(lambda: stopped.append(2))

    assert stopped == [1, 2]


def test_a_statement_whose_time_is_over_gives_its_place_up_although_nobody_reads() -> None:
    clock = HandClock()
    queries = Queries(clock, limit_s=10.0)
    slots = Slots("running", 1, waiting_max=0, wait_s=0, clock=clock)
    running = begin(queries)
    running.start(slots.take())
    clock.now_s = 10.0

    queries.expire()

    slots.take().release()
    with pytest.raises(CancelledError, match="longer than 10 s"):
        running.check()


def test_the_transport_is_asked_seldom_and_never_after_the_call() -> None:
    clock = HandClock()
    queries = Queries(clock)
    asked: list[float] = []

    def is_cancelled() -> bool:
        asked.append(clock.now_s)
        return False

    running = begin(queries, is_cancelled)
    for _ in range(100):
        clock.now_s += 0.005
        running.check()
    assert 0 < len(asked) <= 13

    queries.close(running, None)
    clock.now_s += 1.0
    count = len(asked)
    running.check()
    assert len(asked) == count


def test_those_that_wait_are_few_and_come_first_when_a_place_is_free() -> None:
    slots = Slots("running", 1, waiting_max=1, wait_s=20.0, clock=SystemClock())
    held = slots.take()
    waiting, order = threading.Event(), []

    def wait() -> None:
        slot = slots.take(waiting.set)
        order.append("waited")
        slot.release()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)  # it is asked whether it still wants to wait
    with pytest.raises(UnavailableError, match=r"1 more are waiting.*try again in 20 s"):
        slots.take()

    held.release()
    held.release()
    thread.join(10)
    assert order == ["waited"]
    slots.take().release()


def test_a_caller_that_goes_away_leaves_the_queue() -> None:
    slots = Slots("running", 1, waiting_max=1, wait_s=20.0, clock=SystemClock())
    held = slots.take()

    def gone() -> None:
        raise CancelledError("the statement was cancelled")

    with pytest.raises(CancelledError):
        slots.take(gone)
    held.release()
    slots.take().release()
