"""The buffer, the water marks, the wish to stop, and the worker thread."""

from __future__ import annotations

import threading
import weakref
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.clock import SystemClock
from contract.marker import Gap
from ingest.buffer import Buffer
from ingest.executor import DaemonWorker
from ingest.flow import FlowControl, Turn
from ingest.stop import Stop
from tests.support.failpoints import HandClock

SCHEMA = pa.schema([pa.field("_offset", pa.int64())])


def batch(*offsets: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(offsets, pa.int64())], schema=SCHEMA)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20))
def test_what_is_drained_is_what_was_added_in_order(history: list[tuple[int, bool]]) -> None:
    """The model is one list; draining at any moment cuts it and loses nothing."""
    buffer = Buffer(SCHEMA, SCHEMA, {0: 0})
    expected: list[int] = []
    drained: list[int] = []
    position = 0
    for added, drain in history:
        offsets = range(position, position + added)
        position += added
        expected.extend(offsets)
        buffer.add_rows(batch(*offsets), duplicates=0)
        buffer.advance({0: position}, now_s=1.0)
        if drain:
            part = buffer.drain()
            assert part.positions == {0: position}
            drained.extend(part.rows.column(0).to_pylist())
            assert (buffer.rows, buffer.size_bytes, buffer.dirty) == (0, 0, False)
        assert buffer.rows == len(expected) - len(drained)

    drained.extend(buffer.drain().rows.column(0).to_pylist())

    assert drained == expected


def test_age_counts_from_the_first_addition_after_a_drain() -> None:
    buffer = Buffer(SCHEMA, SCHEMA, {0: 0})
    assert buffer.age_s(99.0) == 0
    buffer.advance({0: 1}, now_s=10.0)
    buffer.advance({0: 2}, now_s=12.0)

    assert buffer.age_s(13.0) == 3

    buffer.drain()
    assert buffer.age_s(14.0) == 0


def test_a_position_that_does_not_move_makes_nothing_dirty() -> None:
    buffer = Buffer(SCHEMA, SCHEMA, {0: 5})

    buffer.advance({0: 5}, now_s=1.0)
    buffer.advance({0: 3}, now_s=1.0)

    assert not buffer.dirty
    assert buffer.positions == {0: 5}


def test_counts_and_gaps_leave_with_the_drain() -> None:
    buffer = Buffer(SCHEMA, SCHEMA, {0: 0})
    gap = Gap(0, 3, 7, "test", 0)
    buffer.add_rows(batch(0), duplicates=2)
    buffer.add_rejects(batch(1), skipped=1, tombstones=1)
    buffer.add_gap(gap, now_s=1.0)

    drained = buffer.drain()

    assert (drained.duplicates, drained.dead_letters, drained.gaps) == (2, 2, (gap,))
    assert drained.tombstones == 1
    assert drained.positions == {0: 7}
    again = buffer.drain()
    assert (again.duplicates, again.dead_letters, again.gaps) == (0, 0, ())
    assert again.tombstones == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_pause_and_resume_alternate_and_follow_the_marks(
    levels: list[tuple[int, int]],
) -> None:
    flow = FlowControl(rows_max=20, bytes_max=20)
    paused = False
    for rows, size in levels:
        turn = flow.update(rows, size)
        if max(rows, size) >= 20:
            assert turn is (Turn.STAY if paused else Turn.PAUSE)
            paused = True
        elif max(rows, size) <= 10:
            assert turn is (Turn.RESUME if paused else Turn.STAY)
            paused = False
        else:
            assert turn is Turn.STAY
        assert flow.paused is paused


def test_stopping_has_one_deadline_for_all() -> None:
    clock = HandClock()
    stop = Stop(clock, 10.0)
    assert not stop.requested()
    assert stop.wait(100.0)
    stop.request()
    clock.sleep(4)
    stop.request()

    assert stop.left_s() == pytest.approx(6.0)
    assert not stop.wait(60.0)
    assert stop.left_s() == 0
    assert clock.now_s == pytest.approx(1_110.0)


def test_a_worker_runs_jobs_in_order_on_its_own_thread() -> None:
    worker = DaemonWorker("test-worker")
    names: list[str] = []
    futures = [worker.submit(lambda: names.append(threading.current_thread().name))]
    futures.append(worker.submit(lambda: names.append("second")))

    for future in futures:
        future.result(timeout=10)

    assert names == ["test-worker", "second"]
    worker.close(timeout_s=10)


def test_what_a_job_raises_comes_out_of_its_future() -> None:
    worker = DaemonWorker("test-worker")

    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 // 0).result(timeout=10)

    assert worker.submit(lambda: "alive").result(timeout=10) == "alive"
    worker.close(timeout_s=10)


def test_a_worker_keeps_nothing_of_a_job_that_is_done() -> None:
    class Heavy:
        pass

    worker = DaemonWorker("test-worker")
    heavy = Heavy()
    seen = weakref.ref(heavy)
    future = worker.submit(partial(isinstance, heavy, Heavy))
    del heavy

    assert future.result(timeout=10)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + 10
    while seen() is not None and clock.monotonic_s() < deadline_s:
        clock.sleep(0.01)
    assert seen() is None
    worker.close(timeout_s=10)


def test_closing_a_worker_does_not_wait_for_a_job_that_hangs() -> None:
    clock = SystemClock()
    release = threading.Event()
    worker = DaemonWorker("test-worker")
    worker.submit(release.wait)
    before_s = clock.monotonic_s()

    worker.close(timeout_s=0.05)

    assert clock.monotonic_s() - before_s < 5
    release.set()
