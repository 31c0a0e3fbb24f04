from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from contract.clock import SystemClock
from contract.errors import BugError, CancelledError, UnavailableError
from flight_server.ports import UNWATCHED
from flight_server.protocol.limits import ProtocolLimits
from flight_server.protocol.stream import Delivery, result_schema
from flight_server.running import Queries
from flight_server.statements import PlannedStatement

if TYPE_CHECKING:
    from collections.abc import Generator

    from flight_server.ports import Watch

_BATCH = pa.record_batch({"n": [1, 2, 3]})
_LIMITS = ProtocolLimits(streams_max=1, slot_wait_s=0, slice_rows_max=2)


@dataclass
class ListPlan:
    """Rows from a list; remembers which executions ended."""

    rows: list[pa.RecordBatch]
    schema: pa.Schema = field(default_factory=lambda: _BATCH.schema)
    receipt: str = "{}"
    pinned_bytes: int = 0
    ended: int = 0

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        try:
            yield from self.rows
        finally:
            self.ended += 1


class _SlowClock(SystemClock):
    """A tenth of a second goes by whenever somebody looks at it."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s


def _never() -> bool:
    return False


def _unheard() -> None:
    pass


def _delivery() -> Delivery:
    clock = SystemClock()
    return Delivery(_LIMITS, Queries(clock), clock)


def test_rows_come_in_slices_and_the_slot_is_free_again() -> None:
    delivery = _delivery()
    statement = PlannedStatement("select", ListPlan([_BATCH, _BATCH]))

    for _ in range(2):
        parts = list(delivery.batches(statement, "me", _never, _unheard))
        assert [part.num_rows for part in parts] == [2, 1, 2, 1]


@pytest.mark.parametrize("batch", [_BATCH, _BATCH.slice(0, 0)], ids=["rows", "no rows"])
def test_cancellation_ends_the_execution(batch: pa.RecordBatch) -> None:
    """47: also while the batches have no rows to send"""
    delivery = Delivery(_LIMITS, Queries(_SlowClock()), SystemClock())
    plan = ListPlan([_BATCH] + [batch] * 5)
    cancelled = False
    stream = delivery.batches(PlannedStatement("select", plan), "me", lambda: cancelled, _unheard)
    next(stream)
    next(stream)
    cancelled = True

    with pytest.raises(CancelledError):
        next(stream)
    assert plan.ended == 1


def test_closing_the_stream_ends_the_execution_and_frees_the_slot() -> None:
    delivery = _delivery()
    plan = ListPlan([_BATCH])
    statement = PlannedStatement("select", plan)
    stream = delivery.batches(statement, "me", _never, _unheard)
    next(stream)
    with pytest.raises(UnavailableError, match="try again"):
        next(delivery.batches(statement, "me", _never, _unheard))

    stream.close()

    assert plan.ended == 1
    assert next(delivery.batches(statement, "me", _never, _unheard)).num_rows == 2


def test_a_result_counts_as_served_when_all_of_it_was_taken() -> None:
    delivery = _delivery()
    statement = PlannedStatement("select", ListPlan([_BATCH]))
    served: list[bool] = []
    early = delivery.batches(statement, "me", _never, lambda: served.append(True))
    next(early)
    early.close()
    assert served == []

    list(delivery.batches(statement, "me", _never, lambda: served.append(True)))

    assert served == [True]


def test_stream_that_was_never_read_holds_nothing() -> None:
    delivery = _delivery()
    statement = PlannedStatement("select", ListPlan([_BATCH]))
    unread = delivery.batches(statement, "me", _never, _unheard)

    assert sum(part.num_rows for part in delivery.batches(statement, "me", _never, _unheard)) == 3
    unread.close()


def test_batch_of_another_schema_is_a_bug() -> None:
    delivery = _delivery()
    plan = ListPlan([_BATCH.rename_columns(["other"])])

    with pytest.raises(BugError):
        list(delivery.batches(PlannedStatement("select", plan), "me", _never, _unheard))


def test_stopped_server_ends_its_streams() -> None:
    queries = Queries(SystemClock())
    delivery = Delivery(_LIMITS, queries, SystemClock())
    statement = PlannedStatement("select", ListPlan([_BATCH]))
    stream = delivery.batches(statement, "me", _never, _unheard)
    next(stream)
    queries.stop()

    with pytest.raises(UnavailableError, match="stopping"):
        next(stream)
    with pytest.raises(UnavailableError, match="stopping"):
        next(delivery.batches(statement, "me", _never, _unheard))


def test_receipt_is_added_to_other_metadata() -> None:
    schema = result_schema(_BATCH.schema.with_metadata({"a": "b"}), '{"x": 1}')

    assert schema.metadata == {b"a": b"b", b"highwater.receipt": b'{"x": 1}'}
