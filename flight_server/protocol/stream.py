"""A planned statement -> the batches of one result stream, within the bounds of the server."""

from __future__ import annotations

import logging
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from contract.errors import BugError, CancelledError, UnavailableError
from flight_server.protocol.slices import slices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.protocol.limits import ProtocolLimits
    from flight_server.statements import PlannedStatement

RECEIPT_KEY = b"highwater.receipt"
_SQL_LOG_CHARACTERS = 500
_log = logging.getLogger("highwater.flight")


class Slots:
    """At most `slots_max` holders at once; a further one waits `wait_s`, then UnavailableError."""

    def __init__(self, what: str, slots_max: int, wait_s: float) -> None:
        self._what = what
        self._slots_max = slots_max
        self._wait_s = wait_s
        self._free = threading.BoundedSemaphore(slots_max)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot."""
        if not self._free.acquire(timeout=self._wait_s):
            raise UnavailableError(
                f"the server is {self._what} {self._slots_max} statements, which is its most; "
                "try again in a moment"
            )
        try:
            yield
        finally:
            self._free.release()


def result_schema(plan_schema: pa.Schema, receipt: str) -> pa.Schema:
    """The schema of FlightInfo and stream: the plan's, with the receipt in its metadata."""
    return plan_schema.with_metadata(
        {**(plan_schema.metadata or {}), RECEIPT_KEY: receipt.encode()}
    )


class Delivery:
    """Runs result streams; one for the whole server."""

    def __init__(self, limits: ProtocolLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._slots = Slots("streaming", limits.streams_max, limits.slot_wait_s)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End every stream at its next batch: UnavailableError."""
        self._stopping.set()

    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def batches(
        self,
        statement: PlannedStatement,
        is_cancelled: Callable[[], bool],
        served: Callable[[], None],
    ) -> Generator[pa.RecordBatch, None, None]:
        """The rows of `statement`, sliced. Nothing runs before the first next().

        `served` is called when all were taken. Closing the generator ends the execution.
        Cancellation is seen at each batch and slice.
        """
        with self._slots.taken():
            started_s = self._clock.monotonic_s()
            rows = 0
            outcome = "ended early"
            try:
                for part in self._sliced(statement, is_cancelled):
                    yield part
                    rows += part.num_rows
                outcome = "complete"
                served()
            finally:
                duration_ms = (self._clock.monotonic_s() - started_s) * 1000
                sql = statement.sql[:_SQL_LOG_CHARACTERS]
                _log.debug("stream %s: %d rows in %.1f ms: %r", outcome, rows, duration_ms, sql)

    def table(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """The rows of a metadata answer, sliced."""
        for batch in table.to_batches():
            yield from self._slices(batch)

    def _sliced(
        self, statement: PlannedStatement, is_cancelled: Callable[[], bool]
    ) -> Iterator[pa.RecordBatch]:
        with closing(_closable(statement.plan.stream())) as batches:
            for batch in batches:
                if not batch.schema.equals(statement.plan.schema):
                    raise BugError("a batch does not have the schema of its plan")
                self._check(statement, is_cancelled)  # a batch without rows has no slices
                for part in self._slices(batch):
                    self._check(statement, is_cancelled)
                    yield part

    def _slices(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        return slices(
            batch,
            rows_max=self._limits.slice_rows_max,
            bytes_max=self._limits.slice_bytes_max,
            row_bytes_max=self._limits.row_bytes_max,
        )

    def _check(self, statement: PlannedStatement, is_cancelled: Callable[[], bool]) -> None:
        if self._stopping.is_set():
            raise UnavailableError("the server is stopping; try again when it is back")
        if statement.cancelled.is_set() or is_cancelled():
            raise CancelledError("the statement was cancelled")


def _closable(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    yield from batches  # forwards close() to a generator, and takes any other iterator too
