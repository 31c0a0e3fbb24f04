"""A planned statement -> the batches of one result stream, within the bounds of the server."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from contract.errors import BugError
from flight_server.protocol.slices import slices
from flight_server.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.protocol.limits import ProtocolLimits
    from flight_server.running import Queries, Running
    from flight_server.statements import PlannedStatement

RECEIPT_KEY = b"highwater.receipt"
_log = logging.getLogger("highwater.flight")


def result_schema(plan_schema: pa.Schema, receipt: str) -> pa.Schema:
    """The schema of FlightInfo and stream: the plan's, with the receipt in its metadata."""
    return plan_schema.with_metadata(
        {**(plan_schema.metadata or {}), RECEIPT_KEY: receipt.encode()}
    )


class Delivery:
    """Runs result streams; one for the whole server."""

    def __init__(self, limits: ProtocolLimits, queries: Queries, clock: Clock) -> None:
        self._limits = limits
        self._queries = queries
        self._slots = Slots(
            "running",
            limits.streams_max,
            waiting_max=limits.waiting_max,
            wait_s=limits.slot_wait_s,
            clock=clock,
        )

    def batches(
        self,
        statement: PlannedStatement,
        principal: str,
        is_cancelled: Callable[[], bool],
        served: Callable[[], None],
    ) -> Generator[pa.RecordBatch, None, None]:
        """The rows of `statement`, sliced. Nothing runs before the first next().

        `served` is called when all were taken. Closing the generator ends the execution.
        """
        running = self._queries.begin(statement.sql, principal, is_cancelled, statement.cancelled)
        error: BaseException | None = None
        try:
            running.start(self._slots.take(running.check))
            for part in self._sliced(statement, running):
                yield part
                running.sent(part.num_rows, part.nbytes)
            served()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._queries.close(running, error)
            _log.debug("statement %d %s: %d rows", running.query_id, running.state, running.rows)

    def table(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """The rows of a metadata answer, sliced."""
        for batch in table.to_batches():
            yield from self._slices(batch)

    def _sliced(self, statement: PlannedStatement, running: Running) -> Iterator[pa.RecordBatch]:
        with closing(_closable(statement.plan.stream(running))) as batches:
            for batch in batches:
                if not batch.schema.equals(statement.plan.schema):
                    raise BugError("a batch does not have the schema of its plan")
                running.check()  # a batch without rows has no slices
                for part in self._slices(batch):
                    running.check()
                    yield part

    def _slices(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        return slices(
            batch,
            rows_max=self._limits.slice_rows_max,
            bytes_max=self._limits.slice_bytes_max,
            row_bytes_max=self._limits.row_bytes_max,
        )


def _closable(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    yield from batches  # forwards close() to a generator, and takes any other iterator too
