from __future__ import annotations

import threading

import pytest

from flight_server.workers import Workers

WAIT_S = 10.0


def test_work_is_done_on_a_thread_that_stays() -> None:
    workers = Workers("test", 4)

    threads = {workers.run(threading.get_ident) for _ in range(20)}

    assert threading.get_ident() not in threads
    assert len(threads) <= workers.threads <= 2  # one may not be back when the next job comes


def test_what_the_work_raises_reaches_the_one_who_waits_and_the_worker_goes_on() -> None:
    workers = Workers("test", 1)

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        workers.run(fails)
    assert workers.run(lambda: 7) == 7


def test_work_beyond_the_most_threads_waits_its_turn() -> None:
    workers = Workers("test", 2)
    go = threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        assert go.wait(WAIT_S)
        return number

    jobs = [workers.start(lambda n=n: work(n)) for n in range(5)]  # type: ignore[misc]
    go.set()

    assert [job.result() for job in jobs] == [0, 1, 2, 3, 4]
    assert workers.threads == 2
