"""A live table with real files below a marker and a real tail above it, without a broker."""

from __future__ import annotations

import gzip
import itertools
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from contract.clock import SystemClock
from contract.decode import Decoder
from contract.definition import load_definition
from contract.lanes import lanes_of
from contract.log import RawBatch
from contract.marker import Marker
from flight_server.config import ServeSettings
from flight_server.lake.table import LakeTable
from flight_server.lake.verify import LocalFileCheck
from flight_server.query.engine import Engine
from flight_server.query.live import LiveTable
from flight_server.query.session import Session
from flight_server.query.system import System
from flight_server.tail.chunk import open_segment
from flight_server.tail.columns import tail_schema
from flight_server.tail.index import TailIndex, TailLimits
from flight_server.view import ViewPublisher
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import IcebergTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flight_server.lake.snapshot import LakeSnapshot
    from flight_server.running import Queries

TRADES = load_definition("trades")


def sample_messages() -> list[bytes]:
    """The 3,001 real trades that are shipped."""
    data = resources.files("ingest.feeds") / "data" / "trades.ndjson.gz"
    return gzip.decompress(data.read_bytes()).splitlines()


def raw_batch(values: Sequence[bytes | None], first_offset: int, partition: int = 0) -> RawBatch:
    """These values as consecutive messages of one partition, a millisecond apart."""
    n = len(values)
    offsets = list(range(first_offset, first_offset + n))
    times = [1_700_000_000_000_000 + o * 1_000 for o in offsets]
    return RawBatch([partition] * n, offsets, times, [None] * n, list(values))


@dataclass
class Joint:
    """One partition of trades: `commit` puts messages into the lake, `follow` into the tail."""

    folder: Path
    catalog: SqlCatalog
    table: IcebergTable
    dead: IcebergTable
    publisher: ViewPublisher[LakeSnapshot]
    engine: Engine
    lake: LakeTable
    dead_lake: LakeTable

    def commit(self, values: Sequence[bytes | None], first_offset: int) -> None:
        """One commit of the rows and one of the dead letters, as the sidecar makes them."""
        decoded = Decoder(TRADES).decode(raw_batch(values, first_offset))
        marker = a_marker(first_offset + len(values))
        for table, rows in ((self.dead, decoded.rejects), (self.table, decoded.rows)):
            head = table.head()
            table.commit(table.write(as_table(rows)), marker, head)

    def refresh(self) -> None:
        """What the refresher does."""
        self.publisher.on_lake(self.lake.refresh(), self.dead_lake.refresh())

    def follow(self, values: Sequence[bytes | None], first_offset: int) -> None:
        """One poll of the follower."""
        decoded = Decoder(TRADES).decode(raw_batch(values, first_offset))
        segment = open_segment(
            {0: (first_offset, first_offset + len(values))},
            decoded.rows,
            lanes_of(TRADES, decoded.rows),
            decoded.rejects,
            tail_schema(TRADES),
            byte_count=0,
            since_s=0.0,
        )
        self.publisher.on_tail(segment, 1_700_000_000_000_000)

    def ask(self, sql: str) -> pa.Table:
        """The answer of the engine."""
        plan = self.engine.plan(sql)
        return pa.Table.from_batches(plan.stream(), schema=plan.schema)


def as_table(rows: pa.RecordBatch) -> pa.Table:
    """One batch as a table."""
    return pa.Table.from_batches([rows])


def a_marker(next_offset: int) -> Marker:
    """Every lane of partition 0 stands at `next_offset`."""
    return Marker(
        topic="trades",
        topic_id="topic-1",
        epoch=1,
        commit_id=f"commit-{next_offset}",
        next={0: (next_offset,) * 3},
        remembered={},
        rows=0,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=0,
        rules_digest=TRADES.rules_digest,
    )


@contextmanager
def half_committed(folder: Path, count: int) -> Iterator[Joint]:
    """The first `count` sample messages, the first half of them committed."""
    made = make_joint(folder)
    messages = sample_messages()[:count]
    made.follow(messages, 0)
    made.commit(messages[: count // 2], 0)
    made.refresh()
    yield made
    made.catalog.close()


def uncommitted(folder: Path, count: int) -> Joint:
    """The first `count` sample messages, all in the tail of a table that was claimed."""
    made = make_joint(folder)
    made.commit([], 0)
    made.refresh()
    made.follow(sample_messages()[:count], 0)
    return made


def make_joint(folder: Path, tail_from: int = 0, queries: Queries | None = None) -> Joint:
    """Empty tables, and a tail that begins at `tail_from`."""
    (folder / "warehouse").mkdir()
    catalog = SqlCatalog(
        "highwater",
        uri=f"sqlite:///{folder / 'catalog.db'}",
        warehouse=f"file://{folder / 'warehouse'}",
    )
    ids = map(str, itertools.count())
    tables = [
        IcebergTable(catalog, "public", shape, lambda: next(ids))
        for shape in (rows_shape(TRADES), dead_shape(TRADES))
    ]
    for table in tables:
        table.ensure()
    clock = SystemClock()
    publisher: ViewPublisher[LakeSnapshot] = ViewPublisher(clock, TRADES.rules_digest)
    session = Session(memory_limit_bytes=1 << 30, cores=2)
    live = LiveTable(session.ctx, TRADES, folder / "scratch", LocalFileCheck())
    settings = ServeSettings(data_dir=folder)
    engine = Engine(
        session,
        [live],
        lambda _: publisher.current(),
        System(session.ctx, settings, queries),
        LocalFileCheck(),
        clock,
    )
    lakes = [LakeTable(catalog, t.name) for t in tables]
    joint = Joint(folder, catalog, tables[0], tables[1], publisher, engine, lakes[0], lakes[1])
    joint.refresh()
    start = {0: (tail_from,) * 3}
    index = TailIndex(
        limits=TailLimits(),
        schema=tail_schema(TRADES),
        lo=start,
        hi={0: tail_from},
        next=start,
        dead_next={},
        dead_lo={},
    )
    publisher.on_start("topic-1", {0: 0}, index)
    return joint
