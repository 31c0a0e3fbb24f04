"""One statement, run for several rows of bound values over one cut."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from contract.errors import RequestError
from flight_server.ports import UNWATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from flight_server.ports import Plan, Watch

    Values = Mapping[str, pa.Scalar]


class RowsPlan:
    """The results for each row of values, one after another; `flight_server.ports.Plan`.

    The first row is planned at once, for its schema; each other one when its turn comes, so that
    many rows cost no more memory than one.
    """

    def __init__(self, plan_row: Callable[[Values], Plan], rows: Sequence[Values]) -> None:
        """`plan_row` plans over the same cut each time it is called."""
        self._plan_row = plan_row
        self._others = rows[1:]
        self._first = first = plan_row(rows[0])
        # a value that is not null in the first row may be null in another
        self.schema = pa.schema([field.with_nullable(True) for field in first.schema])
        self.receipt = first.receipt
        self.pinned_bytes = first.pinned_bytes

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        """See `flight_server.ports.Plan`."""
        yield from self._conformed(self._first, watch)
        for values in self._others:
            yield from self._conformed(self._plan_row(values), watch)

    def _conformed(self, plan: Plan, watch: Watch) -> Generator[pa.RecordBatch, None, None]:
        if plan.schema.types != self.schema.types:
            raise RequestError("the bound rows give results of different types: run each by itself")
        with closing(plan.stream(watch)) as batches:
            for batch in batches:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
