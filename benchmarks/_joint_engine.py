"""The product's engine in this process, over a kept lake and a tail of the rows that follow it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from datafusion import SessionContext

from benchmarks.lake_data import (
    TOPIC_ID,
    LakeShape,
    lake_folder,
    next_offsets,
    open_lake,
    trades,
)
from benchmarks.stack import TRADES
from contract.clock import SystemClock
from contract.lanes import lanes_of
from contract.table import DEAD_SCHEMA, LANES
from flight_server.catalog import open_catalog
from flight_server.config import ServeSettings
from flight_server.lake.scan import LakeScan
from flight_server.lake.table import LakeTable
from flight_server.lake.verify import LocalFileCheck
from flight_server.query.engine import Engine
from flight_server.query.live import LiveTable
from flight_server.query.session import Session
from flight_server.query.system import System
from flight_server.tail.chunk import open_segment
from flight_server.tail.columns import tail_schema
from flight_server.tail.files import TailFiles
from flight_server.tail.index import TailIndex, TailLimits
from flight_server.view import ViewPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datafusion import DataFrame

    from flight_server.lake.snapshot import LakeSnapshot

_POLL_ROWS = 10_000  # the follower's poll
_SEALED_SHARE = 0.6  # of the tail; the rest is still in open segments
_TAIL_STEP_US = 50
_MEMORY_BYTES = 4 << 30


@dataclass
class JointEngine:
    """`hybrid` answers from lake and tail, `native` from the engine's own scan of the same files,
    `check` from plain Parquet files and plain Arrow rows in another session."""

    engine: Engine
    session: Session
    native_tables: NativeTables
    checker: SessionContext

    def hybrid(self, sql: str) -> pa.Table:
        """The product's answer."""
        plan = self.engine.plan(sql)
        return pa.Table.from_batches(plan.stream(), schema=plan.schema)

    def native(self, sql: str) -> pa.Table:
        """The lake's rows only: no marker, no tail, no receipt, no pruning but the engine's."""
        with self.session.planning(self.native_tables) as ctx:
            frame = ctx.sql(sql)
        stream = frame.execute_stream()
        batches = [batch.to_pyarrow() for batch in stream]
        return pa.Table.from_batches(
            batches, schema=batches[0].schema if batches else frame.schema()
        )

    def check(self, sql: str) -> pa.Table:
        """What is right."""
        return self.checker.sql(sql).to_arrow_table()


class NativeTables:
    """One name, `trades`, for one frame that was planned before."""

    def __init__(self, frame: DataFrame) -> None:
        self._frame = frame

    def names(self, schema: str) -> Sequence[str]:
        """See `flight_server.query.session.Tables`."""
        return (TRADES.name,) if schema == "public" else ()

    def frame(self, schema: str, name: str) -> DataFrame:  # noqa: ARG002
        """See `flight_server.query.session.Tables`."""
        return self._frame


@contextlib.contextmanager
def joint_engine(shape: LakeShape, tail_rows: int, scratch: Path) -> Iterator[JointEngine]:
    """Everything opened; `scratch` is an empty directory."""
    kept = open_lake(shape)
    settings = ServeSettings(data_dir=kept.data_dir)
    catalog = open_catalog(settings)
    session = Session(_MEMORY_BYTES, cores=2)
    check = LocalFileCheck()
    live = LiveTable(session.ctx, TRADES, scratch, check)
    clock = SystemClock()
    publisher: ViewPublisher[LakeSnapshot] = ViewPublisher(clock, TRADES.rules_digest)
    lake, dead = (LakeTable(catalog, f"public.{n}") for n in (TRADES.name, TRADES.dead_name))
    publisher.on_lake(lake.refresh(), dead.refresh())
    files = TailFiles(scratch / "tail", TRADES, "bench", 8 << 30)
    tail = trades(shape, shape.rows, tail_rows, _TAIL_STEP_US)
    _follow(publisher, files, shape.rows, tail)
    engine = Engine(
        session,
        [live],
        lambda _: publisher.current(),
        System(session.ctx, settings),
        check,
        clock,
    )
    payload = [c.name for c in TRADES.columns]
    scan = LakeScan(session.ctx, TRADES.stored_schema, scratch)
    native = scan.frame("native", lake.refresh().files).select(*payload)
    try:
        checker = _checker(lake_folder(kept), tail.select(payload))
        yield JointEngine(engine, session, NativeTables(native), checker)
    finally:
        files.close()
        catalog.close()


def _follow(
    publisher: ViewPublisher[LakeSnapshot], files: TailFiles, first: int, tail: pa.Table
) -> None:
    """What follower and keeper do: append poll by poll, seal the older part."""
    start = {p: (o,) * len(LANES) for p, o in next_offsets(first).items()}
    index = TailIndex(
        limits=TailLimits(),
        schema=tail_schema(TRADES),
        lo=start,
        hi=next_offsets(first),
        next=start,
        dead_next={},
        dead_lo={},
    )
    publisher.on_start(TOPIC_ID, {}, index)
    rejects = pa.RecordBatch.from_pylist([], schema=DEAD_SCHEMA)
    edges = [*range(0, tail.num_rows, _POLL_ROWS), tail.num_rows]
    seal_at = int(np.ceil(_SEALED_SHARE * (len(edges) - 1)))
    for number, (lo, hi) in enumerate(pairwise(edges), 1):
        (rows,) = tail.slice(lo, hi - lo).combine_chunks().to_batches()
        before, after = next_offsets(first + lo), next_offsets(first + hi)
        segment = open_segment(
            {p: (before[p], after[p]) for p in before},
            rows,
            lanes_of(TRADES, rows),
            rejects,
            tail_schema(TRADES),
            byte_count=rows.nbytes,
            since_s=0.0,
        )
        publisher.on_tail(segment, 0)
        if number == seal_at:
            closing = publisher.close_segments(everything=True)
            publisher.on_sealed(closing, files.seal(closing, TOPIC_ID))


def _checker(lake: Path, tail: pa.Table) -> SessionContext:
    ctx = SessionContext()
    payload = ", ".join(tail.schema.names)
    ctx.register_parquet("lake", str(lake / "public" / TRADES.name / "data"))
    ctx.register_record_batches("tail", [tail.to_batches()])
    ctx.sql(
        f"create view {TRADES.name} as select {payload} from lake "
        f"union all select {payload} from tail"
    ).collect()
    return ctx
