"""Statements that are ended: the engine stops, on the processor's clock of this very process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from datafusion import SessionConfig, SessionContext

from contract.clock import SystemClock
from contract.errors import CancelledError, LimitError, UnavailableError
from flight_server.query.execution import run
from flight_server.query.failures import from_engine
from flight_server.query.session import Session
from flight_server.query.shares import PAIRWISE_MAX, share_sizes
from flight_server.running import Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from flight_server.running import Running

MIB = 1 << 20
_IDLE_S = 0.25  # how soon nothing is at work any more
_ROWS = 1_000_000


class Bench:
    """A session with one table `t`; `start` runs a statement on a thread of its own."""

    def __init__(self, memory_bytes: int = 1 << 30, statements_max: int = 4) -> None:
        self.shares = Session(memory_bytes, cores=2, statements_max=statements_max).shares
        self.queries = Queries(SystemClock(), limit_s=60.0)
        rows = [self._batch(start) for start in range(0, _ROWS, 8_192)]
        self._planner = SessionContext(SessionConfig().with_target_partitions(2))
        self._planner.register_record_batches("t", [rows])

    def _batch(self, start: int) -> pa.RecordBatch:
        numbers = range(start, min(start + 8_192, _ROWS))
        texts = [f"{n * 7_919:x}" for n in numbers]
        keys = [n % 1_000 for n in numbers]
        return pa.record_batch({"n": list(numbers), "k": keys, "s": texts})

    def begin(self, sql: str) -> Running:
        return self.queries.begin(sql, "me", lambda: False, threading.Event())

    def batches(self, sql: str, running: Running) -> Generator[pa.RecordBatch, None, None]:
        frame = self._planner.sql(sql)
        return run(frame.execution_plan, pa.schema([]), self.shares, self._planner, running)

    def start(self, sql: str) -> tuple[Running, Callable[[], BaseException | None]]:
        """The statement, at work; the function waits for its end and gives what ended it."""
        running = self.begin(sql)
        ended: list[BaseException] = []

        def read() -> None:
            try:
                for _ in self.batches(sql, running):
                    pass
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                ended.append(error)

        thread = threading.Thread(target=read)
        thread.start()

        def wait() -> BaseException | None:
            thread.join(20)
            assert not thread.is_alive()
            return ended[0] if ended else None

        return running, wait


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def _wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.005)


def _is_busy() -> bool:
    """Whether this process computes, by the processor time that it gets within 20 ms."""
    return _used_s(0.02) > 0.005


def _used_s(window_s: float) -> float:
    used_s = time.process_time()
    time.sleep(window_s)
    return time.process_time() - used_s


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT value FROM generate_series(1, 100000000000) WHERE value % 7 = 9",
        "SELECT sum(value) FROM generate_series(1, 100000000000)",
        "SELECT value % 1000, count(*) FROM generate_series(1, 100000000000) GROUP BY 1",
        "SELECT value FROM generate_series(1, 100000000000) ORDER BY value DESC LIMIT 5",
        "SELECT count(*) FROM t JOIN generate_series(1, 100000000000) g ON t.n = g.value",
    ],
    ids=["scan", "aggregation", "groups", "sort", "join"],
)
def test_the_engine_is_idle_soon_after_the_end(bench: Bench, sql: str) -> None:
    """47"""
    running, wait = bench.start(sql)
    _wait_until(_is_busy)

    running.end(CancelledError("enough"))
    ended_s = time.monotonic()
    assert isinstance(wait(), CancelledError)
    assert time.monotonic() - ended_s < _IDLE_S
    time.sleep(max(0.0, ended_s + _IDLE_S - time.monotonic()))
    assert _used_s(0.1) < 0.02


def test_a_stopped_statement_gives_its_share_back(bench: Bench) -> None:
    """Also one that the engine cannot interrupt at once: when it has let it go."""
    few = "(SELECT * FROM t LIMIT 20000)"
    for _ in range(4 + 1):
        running, wait = bench.start(f"SELECT count(*) FROM {few} a JOIN t b ON a.k = b.k")
        _wait_until(_is_busy)
        running.end(CancelledError("enough"))
        assert isinstance(wait(), CancelledError)
    _wait_until(lambda: bench.shares.lingering() == 0)

    sizes = [bench.shares.take(bench.begin(""), is_pairwise=False) for _ in range(4)]
    for share in sizes:
        bench.shares.give_back(share)
    assert [share.number for share in sizes] == [0, 1, 2, 3]


def test_statements_that_cannot_be_interrupted_are_few_at_once() -> None:
    bench = Bench()
    bench.shares.wait_s = 0.1
    shares = [bench.shares.take(bench.begin(""), is_pairwise=True) for _ in range(PAIRWISE_MAX)]

    with pytest.raises(UnavailableError, match="compare all rows of two tables"):
        list(bench.batches("SELECT count(*) FROM t a, t b WHERE a.n + b.n = 7", bench.begin("")))
    assert len(list(bench.batches("SELECT count(*) FROM t", bench.begin("")))) == 1

    for share in shares:
        bench.shares.give_back(share)
    first = "(SELECT n FROM t LIMIT 1)"
    rows = list(bench.batches(f"SELECT a.n, b.n AS m FROM t a, {first} b LIMIT 5", bench.begin("")))
    assert sum(batch.num_rows for batch in rows) == 5


def test_a_statement_over_its_share_is_refused_and_its_neighbours_go_on() -> None:
    bench = Bench(memory_bytes=64 * MIB)
    greedy = "SELECT count(*) FROM t a JOIN t b ON a.s = b.s AND a.n = b.n"
    neighbour = list(bench.batches("SELECT k, sum(n) FROM t GROUP BY k", bench.begin("")))
    stream = bench.batches("SELECT n, s FROM t", bench.begin(""))
    next(stream)

    with pytest.raises(LimitError, match=r"its share .* MB") as refused:
        _failed(bench.batches(greedy, bench.begin("")))
    assert "datafusion" not in str(refused.value)

    assert sum(batch.num_rows for batch in stream) > 0
    again = list(bench.batches("SELECT k, sum(n) FROM t GROUP BY k", bench.begin("")))
    assert _rows(again) == _rows(neighbour)


def test_a_sort_above_its_share_spills() -> None:
    bench = Bench(memory_bytes=64 * MIB)
    running = bench.begin("")

    rows = 0
    for batch in bench.batches("SELECT n, s FROM t ORDER BY s", running):
        rows += batch.num_rows

    assert rows == _ROWS
    assert running.spilled_bytes > 0


@pytest.mark.parametrize("count", [1, 2, 32, 64])
def test_shares_are_never_more_than_the_limit_and_the_first_gets_half_or_more(count: int) -> None:
    sizes = share_sizes(2_048 * MIB, count)

    assert sum(sizes) <= 2_048 * MIB
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] >= 512 * MIB
    assert sizes[-1] >= 1_024 * MIB // count


def _failed(batches: Generator[pa.RecordBatch, None, None]) -> None:
    try:
        for _ in batches:
            pass
    except Exception as error:  # as `QueryPlan.stream` does
        raise from_engine(error) from error


def _rows(batches: list[pa.RecordBatch]) -> list[tuple[int, int]]:
    table = pa.Table.from_batches(batches)
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))
