"""One physical plan while it runs: batches come out, and it can be stopped at any time.

The engine's plain iterator keeps its thread inside until there is a batch, deaf to everything. Its
asynchronous one gives futures, which can be cancelled, but they want an event loop. All that they
use of one is a place to put results, so the thread that waits has just that: a queue, on which it
can also be woken. A batch costs 0.05 ms more this way, so they are larger where that is no harm.
"""

from __future__ import annotations

import queue
import threading
from asyncio import _set_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from flight_server.query.operators import (
    BATCH_ROWS,
    batch_rows,
    is_pairwise,
    lingers,
    makes_one_row,
    shows_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Sequence

    import pyarrow as pa
    from datafusion import SessionContext
    from datafusion.plan import ExecutionPlan, Metric
    from datafusion.record_batch import RecordBatchStream

    from flight_server.ports import Watch
    from flight_server.query.shares import Share, Shares

POLL_S = 0.05  # how soon it is seen that a caller went away without a word
_HELD = {"peak_mem_used", "build_mem_used"}  # of the operators that keep rows


def run(
    make_plan: Callable[[], ExecutionPlan],
    schema: pa.Schema,
    shares: Shares,
    planner: SessionContext,
    watch: Watch,
) -> Generator[pa.RecordBatch, None, None]:
    """The batches of a plan, in a share of the memory.

    `make_plan` gives one that was not run yet and that nobody else keeps: its tasks end when it
    goes. It is called on a thread that the engine knows. `planner` made it.
    """
    begin_in = partial(_begin, schema=schema, shares=shares, planner=planner)

    def begin() -> _Begun | tuple[ExecutionPlan, str]:
        plan = make_plan()
        operators = plan.display_indent()
        share = shares.take_now(is_pairwise=is_pairwise(operators))
        return (plan, operators) if share is None else begin_in(plan, operators, share)

    begun = shares.workers.run(begin)
    if isinstance(begun, tuple):
        share = shares.take(watch, is_pairwise=is_pairwise(begun[1]))
        begun = shares.workers.run(partial(begin_in, *begun, share))
    yield from begun.batches(watch)


def _begin(
    plan: ExecutionPlan,
    operators: str,
    share: Share,
    *,
    schema: pa.Schema,
    shares: Shares,
    planner: SessionContext,
) -> _Begun:
    may_linger = lingers(operators)

    def done(at_work: Sequence[Metric]) -> None:
        shares.give_back(share, partial(_progress, at_work) if at_work and may_linger else None)

    try:
        if makes_one_row(operators):
            return _OneRow(share.context(BATCH_ROWS).execute(plan, 0), lambda: done([]))
        # the engine's own tables of its settings show those of the context that runs them
        own = planner if shows_settings(operators) else None
        return Execution(plan, own or share.context(batch_rows(operators, schema)), done)
    except BaseException:
        shares.give_back(share)
        raise


class _Begun(Protocol):
    """What was begun on a thread of ours and is read on that of the caller."""

    def batches(self, watch: Watch) -> Generator[pa.RecordBatch, None, None]:
        """All batches."""
        ...


class _OneRow:
    """A plan that makes one row of nothing: it has been run when it was begun."""

    def __init__(self, stream: RecordBatchStream, done: Callable[[], None]) -> None:
        self._batches = [batch.to_pyarrow() for batch in stream]
        done()

    def batches(self, _: Watch) -> Generator[pa.RecordBatch, None, None]:
        """See `_Begun`."""
        yield from self._batches


class Execution:
    """The partitions of a plan, read as their batches come. One thread reads, any may stop it."""

    def __init__(
        self,
        plan: ExecutionPlan,
        context: SessionContext,
        done: Callable[[Sequence[Metric]], None],
    ) -> None:
        """Ask for the first batch of every partition.

        `done` is called once: with what the engine counts while it works, if it was at work when
        it was told to stop, so that it may go on for a while.
        """
        self._plan: ExecutionPlan | None = plan
        self._done = done
        self._mailbox = _Mailbox()
        self._lock = threading.Lock()
        # The engine's own streams: the `__anext__` of their Python wrapper is a coroutine, which
        # would need somebody to drive it.
        self._streams = {n: context.execute(plan, n).rbs for n in range(plan.partition_count)}
        self._pending: dict[int, _Future] = {}
        self._is_over = False
        for number in list(self._streams):
            self._ask(number)

    def batches(self, watch: Watch) -> Generator[pa.RecordBatch, None, None]:
        """All batches, as the engine has them; what `watch.check` raises ends them."""
        watch.attach(self.stop)
        try:
            while self._pending:
                future = self._wait(watch)
                if future is _WAKE:
                    continue
                self._pending.pop(future.number, None)
                if isinstance(future.result, StopAsyncIteration):
                    self._streams.pop(future.number, None)
                elif isinstance(future.result, BaseException):
                    raise future.result
                else:
                    self._ask(future.number)  # the engine goes on while this one is sent
                    yield future.result
            watch.check()  # it was stopped, or all is there
        finally:
            self._note_memory(watch)
            self.stop()
            watch.attach(_nothing)

    def stop(self) -> None:
        """End it and free what it holds, from any thread; again is fine."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            pending, self._pending = self._pending, {}
            metrics = self._metrics() if pending else []
            self._streams = {}
            self._plan = None
        for future in pending.values():
            future.cancel()
        self._mailbox.arrived.put(_WAKE)
        self._done(metrics)

    def _metrics(self) -> list[Metric]:
        """What its operators count; the numbers go on after this was asked."""
        if self._plan is None:
            return []
        return [m for _, metrics in self._plan.collect_metrics() for m in metrics.metrics()]

    def _note_memory(self, watch: Watch) -> None:
        metrics = self._metrics()
        watch.note_memory(_sum(metrics, _HELD), _sum(metrics, {"spilled_bytes"}))

    def _wait(self, watch: Watch) -> _Future:
        while True:
            try:
                future = self._mailbox.arrived.get(timeout=POLL_S)
            except queue.Empty:
                self._note_memory(watch)
                watch.check()
            else:
                return future

    def _ask(self, number: int) -> None:
        """Ask for the next batch of a partition."""
        with self._lock:
            if self._is_over:
                return
            self._mailbox.number = number
            _set_running_loop(self._mailbox)  # type: ignore[arg-type]
            try:
                self._pending[number] = self._streams[number].__anext__()
            finally:
                _set_running_loop(None)


def _progress(metrics: Sequence[Metric]) -> int:
    """A number that grows while the engine works."""
    return _sum(metrics, None)


def _sum(metrics: Sequence[Metric], names: Container[str] | None) -> int:
    """Of the metrics with these names; None: of all that are numbers."""
    values = [m.value for m in metrics if names is None or m.name in names]
    return sum(value for value in values if isinstance(value, int))


def _nothing(*_: object) -> None:
    pass


class _Future:
    """What the engine takes for a future of an event loop."""

    __slots__ = ("_callback", "_is_cancelled", "_mailbox", "number", "result")

    def __init__(self, mailbox: _Mailbox, number: int) -> None:
        self._mailbox = mailbox
        self._is_cancelled = False
        self._callback: Callable[[_Future], None] = _nothing
        self.number = number
        self.result: Any = None

    def add_done_callback(self, callback: Callable[[_Future], None]) -> None:
        self._callback = callback

    def cancelled(self) -> bool:
        return self._is_cancelled

    def done(self) -> bool:
        return self._is_cancelled

    def set_result(self, batch: Any) -> None:
        # here, on a thread of the engine: a new thread pays for its first use of the allocator
        self.set_exception(batch.to_pyarrow())

    def set_exception(self, result: Any) -> None:
        self.result = result
        self._mailbox.arrived.put(self)

    def cancel(self) -> None:
        self._is_cancelled = True
        self._callback(self)


class _Mailbox:
    """What the engine takes for an event loop."""

    __slots__ = ("arrived", "number")

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[_Future] = queue.SimpleQueue()
        self.number = 0  # of the partition that is being asked

    def create_future(self) -> _Future:
        return _Future(self, self.number)

    def call_soon_threadsafe(self, callback: Callable[..., None], *args: Any, **_: Any) -> None:
        callback(*args)


_WAKE = _Future(_Mailbox(), -1)  # arrives when the execution was stopped
