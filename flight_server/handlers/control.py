"""`CALL system.cancel(42)`: a statement that ends another one; the engine never sees it.

SQL, because every client can send it; an action of Flight's would need a program of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from flight_server.ports import UNWATCHED
from flight_server.query.receipt import receipt_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from contract.clock import Clock
    from flight_server.ports import Watch
    from flight_server.running import Queries
    from flight_server.security.identity import Identity

_CANCEL = re.compile(r"\s*CALL\s+system\.cancel\s*\(\s*(\d{1,18})\s*\)\s*;?\s*", re.IGNORECASE)
_SCHEMA = pa.schema(
    [pa.field("query_id", pa.int64(), False), pa.field("state", pa.string(), False)]
)


class Control:
    """Knows these statements, and plans them."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    def plan(self, sql: str, identity: Identity) -> CancelPlan | None:
        """The plan, if `sql` is one of them."""
        found = _CANCEL.fullmatch(sql)
        if found is None:
            return None
        return CancelPlan(self._queries, int(found[1]), identity, self._clock.wall_s())


class CancelPlan:
    """Ends a statement when it is run; `flight_server.ports.Plan`."""

    schema = _SCHEMA
    pinned_bytes = 0

    def __init__(
        self, queries: Queries, query_id: int, identity: Identity, planned_s: float
    ) -> None:
        self._queries = queries
        self._query_id = query_id
        self._identity = identity
        self.receipt = receipt_of({}, planned_s)

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        """One row. NotFoundError if there is no such statement that the caller may end."""
        watch.check()
        self._queries.cancel(self._query_id, self._identity)
        yield pa.RecordBatch.from_pydict(
            {"query_id": [self._query_id], "state": ["cancelled"]}, schema=self.schema
        )
