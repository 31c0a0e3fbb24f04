"""A live table of two partitions whose lanes are committed apart, and every answer it ever gave.

What the log holds is fixed beforehand, so that any history of polls, commits, roll-backs, restarts
and foreign commits can be made of it at random.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from contract.decode import Decoder
from contract.lanes import lanes_of
from contract.table import LANES, OFFSET, PARTITION
from flight_server.cut.request import CutRequest, cut_request
from flight_server.ports import Asker
from flight_server.tail.chunk import open_segment
from flight_server.tail.columns import tail_schema
from flight_server.tail.index import TailIndex, TailLimits
from ingest.iceberg_schema import rows_shape
from ingest.parquet_writer import Target, write_files
from tests.support.joint import TRADES, Joint, a_marker, as_table, make_joint, raw_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from contract.marker import Gap, Marker

PARTITIONS = (0, 1)
FOREIGN = -1

QUESTIONS = (
    "SELECT count(*) AS n, sum(price) AS p, min(message_id) AS i FROM trades",
    "SELECT symbol, count(*) AS n FROM trades GROUP BY symbol ORDER BY symbol",
    "SELECT message_id, price FROM trades ORDER BY price DESC, message_id LIMIT 7",
    "SELECT _partition, count(*) AS n, sum(_offset) AS o FROM trades_history GROUP BY 1 ORDER BY 1",
    "SELECT _partition, count(*) AS n, sum(_offset) AS o FROM trades_tail GROUP BY 1 ORDER BY 1",
    "SELECT h._partition, h._offset FROM trades_history h JOIN trades_tail t "
    "ON h._partition = t._partition AND h._offset + 1 = t._offset ORDER BY 1, 2",
    "SELECT a.symbol, count(*) AS n FROM trades a JOIN trades b ON a.message_id = b.message_id "
    "GROUP BY 1 ORDER BY 1",
    "SELECT _partition, _offset, reason FROM trades_dead ORDER BY 1, 2",
    'SELECT "table", partition, lane, lake_next_offset, cut_offset FROM system.cut ORDER BY 2, 3',
    "SELECT (SELECT count(*) FROM trades) AS n, (SELECT count(*) FROM trades_history) AS h, "
    "(SELECT count(*) FROM trades_tail) AS t, (SELECT sum(cut_offset) FROM system.cut) AS c",
)


@dataclass(frozen=True)
class Answer:
    """What was answered, and when it was asked."""

    sql: str
    rows: list[dict[str, Any]]
    receipt: str

    @property
    def table(self) -> dict[str, Any]:
        """The receipt's part of the table."""
        found: dict[str, Any] = json.loads(self.receipt)["tables"]["trades"]
        return found


class _State(NamedTuple):
    """The table after a commit: snapshots of rows and dead letters, watermarks, foreign rows."""

    rows_id: int
    dead_id: int
    next: dict[int, tuple[int, ...]]
    foreign: frozenset[int]


@dataclass
class CutWorld:
    """`hi`: where the follower is; `next`: where each lane of the lake is."""

    joint: Joint
    messages: Sequence[Sequence[bytes]]  # by partition
    hi: dict[int, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONS, 0))
    next: dict[int, tuple[int, ...]] = field(
        default_factory=lambda: dict.fromkeys(PARTITIONS, (0,) * len(LANES))
    )
    gaps: tuple[Gap, ...] = ()
    history: list[_State] = field(default_factory=list)
    foreign: frozenset[int] = frozenset()  # offsets of the rows of another writer
    numbered: int = 0
    rewrites: int = 0
    commits: int = 0

    @classmethod
    def make(cls, folder: Path, messages: Sequence[Sequence[bytes]]) -> CutWorld:
        """Nothing is read or committed yet; the sidecar has claimed the table."""
        world = cls(make_joint(folder), messages)
        world.commit(world.next)
        world.restart()
        return world

    def follow(self, partition: int, count: int) -> None:
        """One poll of the follower."""
        start = self.hi[partition]
        end = min(start + count, len(self.messages[partition]))
        decoded = Decoder(TRADES).decode(
            raw_batch(self.messages[partition][start:end], start, partition)
        )
        lanes = lanes_of(TRADES, decoded.rows)
        segment = open_segment(
            {partition: (start, end)}, decoded.rows, lanes, decoded.rejects, tail_schema(TRADES),
            byte_count=0, since_s=0.0,
        )  # fmt: skip
        self.joint.publisher.on_tail(segment, 1_700_000_000_000_000)
        self.hi[partition] = end

    def commit(self, upto: dict[int, tuple[int, ...]]) -> None:
        """One commit: of each lane what lies below these offsets and is not in the lake yet."""
        rows, rejects = [], []
        for partition in PARTITIONS:
            before, after = self.next[partition], upto[partition]
            decoded = Decoder(TRADES).decode(
                raw_batch(self.messages[partition][: max(after)], 0, partition)
            )
            lanes, offsets = lanes_of(TRADES, decoded.rows), _integers(decoded.rows, OFFSET)
            inside = (offsets >= np.array(before)[lanes]) & (offsets < np.array(after)[lanes])
            rows.append(decoded.rows.filter(pa.array(inside)))
            dead = _integers(decoded.rejects, OFFSET)
            rejects.append(decoded.rejects.filter(pa.array(dead >= max(before))))
        self.commits += 1
        marker = self._marker(upto)
        ends = {p: (max(o),) * len(LANES) for p, o in upto.items()}
        for table, batches, mark in (
            (self.joint.dead, rejects, self._marker(ends)),
            (self.joint.table, rows, marker),
        ):
            head = table.head()
            table.commit(table.write(as_table(pa.concat_batches(batches))), mark, head)
        self.next = dict(upto)
        self.history.append(_State(*self._heads(), dict(upto), self.foreign))
        self.joint.refresh()

    def restart(self) -> None:
        """The server reads the tail again, from where the lake ends to where it was."""
        positions = {p: min(self.next[p]) for p in PARTITIONS}
        index = TailIndex(
            limits=TailLimits(), schema=tail_schema(TRADES), lo=self.next, hi=positions,
            next=self.next, dead_next={}, dead_lo={},
        )  # fmt: skip
        gaps = tuple((g.partition, g.from_offset, g.to_offset) for g in self.gaps)
        self.joint.publisher.on_start("topic-1", {}, index, gaps)
        reached, self.hi = dict(self.hi), dict(positions)
        for partition in PARTITIONS:
            self.follow(partition, max(0, reached[partition] - positions[partition]))

    def roll_back(self, commits: int) -> None:
        """Back to the state after an earlier commit; the log is read again from there."""
        # The cut of a server never goes back, so the log is read to where the lake reached.
        self.hi = {p: max(self.hi[p], *self.next[p]) for p in PARTITIONS}
        del self.history[max(1, len(self.history) - commits) :]
        rows, dead, self.next, self.foreign = self.history[-1]
        for name, snapshot_id in ((self.joint.table.name, rows), (self.joint.dead.name, dead)):
            table = self.joint.catalog.load_table(name)
            table.manage_snapshots().rollback_to_snapshot(snapshot_id).commit()
        self.joint.refresh()
        self.restart()

    def append_foreign(self, count: int) -> None:
        """Rows of another writer, numbered on."""
        decoded = Decoder(TRADES).decode(raw_batch(self.messages[0][:count], self.numbered))
        columns = dict(zip(decoded.rows.schema.names, decoded.rows.columns, strict=True))
        columns[PARTITION] = pa.array([FOREIGN] * decoded.rows.num_rows, pa.int32())
        rows = pa.table(columns, schema=decoded.rows.schema)
        self.foreign |= set(_integers(decoded.rows, OFFSET).tolist())
        self.numbered += count
        table = self.joint.catalog.load_table(self.joint.table.name)
        append = table.transaction()
        snapshot = append.update_snapshot().fast_append()
        for file in write_files(
            rows, Target(table, rows_shape(TRADES)), f"foreign-{self.numbered}"
        ):
            snapshot.append_data_file(file)
        snapshot.commit()
        append.commit_transaction()
        self.joint.refresh()

    def compact(self) -> None:
        """Another tool makes one file per day of all files."""
        self.rewrite(lambda rows: rows)

    def rewrite(self, change: Any) -> None:
        """Another tool puts these rows in the place of all."""
        table = self.joint.catalog.load_table(self.joint.table.name)
        old = [task.file for task in table.scan().plan_files()]
        rows = change(table.scan().to_arrow())
        self.rewrites += 1
        name = f"rewritten-{self.rewrites}"
        files = write_files(rows, Target(table, rows_shape(TRADES)), name)
        transaction = table.transaction()
        overwrite = transaction.update_snapshot().overwrite()
        for file in old:
            overwrite.delete_data_file(file)
        for file in files:
            overwrite.append_data_file(file)
        overwrite.commit()
        transaction.commit_transaction()
        self.joint.refresh()

    def expire(self) -> None:
        """Another tool forgets every snapshot but that of the sidecar's newest commit."""
        self.commit(self.next)
        table = self.joint.catalog.load_table(self.joint.table.name)
        head = self.history[-1].rows_id
        old = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != head]
        table.maintenance.expire_snapshots().by_ids(old).commit()
        self.joint.refresh()
        self.history = self.history[-1:]

    def ask(self, sql: str, request: CutRequest | None = None) -> Answer:
        """An answer of now, or at the cut that is wanted."""
        pin = self.joint.engine.pin(request, sql) if request else None
        plan = self.joint.engine.plan(sql, asker=Asker(pin=pin))
        table = pa.Table.from_batches(plan.stream(), schema=plan.schema)
        return Answer(sql, table.to_pylist(), plan.receipt)

    def ask_again(self, answer: Answer) -> Answer:
        """The same statement at exactly the same cut."""
        return self.ask(answer.sql, cut_request({"exactly": answer.receipt}))

    def _heads(self) -> tuple[int, int]:
        heads = [
            self.joint.catalog.load_table(t.name).current_snapshot()
            for t in (self.joint.table, self.joint.dead)
        ]
        rows, dead = (h.snapshot_id for h in heads if h is not None)
        return rows, dead

    def _marker(self, upto: dict[int, tuple[int, ...]]) -> Marker:
        return replace(a_marker(self.commits), next=upto, gaps=self.gaps)


def some_commit(world: CutWorld, rng: Random) -> dict[int, tuple[int, ...]]:
    """Any step forward of any lane, also beyond the follower."""

    def forward(partition: int, offset: int) -> int:
        end = min(world.hi[partition] + rng.choice((0, 0, 9)), len(world.messages[partition]))
        return rng.randint(offset, max(offset, end)) if rng.random() < 0.7 else offset

    return {p: tuple(forward(p, o) for o in world.next[p]) for p in PARTITIONS}


def _integers(rows: pa.RecordBatch, column: str) -> Any:
    return rows.column(column).to_numpy()
