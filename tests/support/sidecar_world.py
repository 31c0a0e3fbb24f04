"""A sidecar on a scripted log and tables in memory, and what must hold whatever happens to it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

from contract.decode import Decoder
from contract.definition import parse_definition
from contract.duplicates import DuplicateFilter
from contract.health import NO_HEALTH, Health
from contract.lanes import lanes_of
from contract.log import RawBatch
from contract.marker import MARKER_KEY, Marker, find_marker, is_at_or_after
from contract.table import DEAD_SCHEMA, TableDefinition
from highwater.simulate.log import Log, Message, ScriptedLog
from highwater.simulate.table import MemoryTable, Storage
from ingest.backoff import Backoff
from ingest.commit import TableWriter, WriterParts
from ingest.config import IngestSettings
from ingest.metrics import Metrics
from ingest.pipeline import Parts, Pipeline
from ingest.stop import Stop
from tests.support.failpoints import CrashAt, HandClock, InlineWorker, LateWorker

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.breaker import Pin
    from ingest.executor import Worker
    from ingest.ports import Table

TEXT = """
name = "trades"
topic = "trades"
message_id = "id"
event_time = "at"
columns = [
  {name = "id", type = "string", required = true},
  {name = "at", type = "timestamp", required = true},
  {name = "price", type = "decimal(18,8)", required = true},
]
lanes = [
  {lane = "HIGH", product = ["price"], at_least = "100"},
  {lane = "LOW", product = ["price"], below = "10"},
]
[duplicates]
window_s = 10
remembered_rows = 4
"""
# Per partition the offsets of rows, with their lanes, and of dead letters.
Expected = tuple[dict[int, list[tuple[int, int]]], dict[int, list[int]]]
DEFINITION = parse_definition(TEXT, "test")
SETTINGS = IngestSettings(
    flush_interval_s=2.0,
    flush_rows=5,
    buffer_rows_max=12,
    poll_messages=4,
    topic_check_s=3.0,
    breaker_up_s=0.0,
    breaker_down_s=2.0,
    expire_every_commits=3,
    keep_snapshots=2,
)


def trade(message_id: str, price: int = 50, timestamp_s: int = 1_000) -> Message:
    """A good message; its lane is HIGH from 100 up, LOW below 10."""
    value = json.dumps({"id": message_id, "at": 5, "price": str(price)}).encode()
    return Message(value, timestamp_us=timestamp_s * 1_000_000)


POISON = Message(b"not json")


@dataclass
class World:
    """What outlives a sidecar, and the sidecar that runs now."""

    definition: TableDefinition = DEFINITION
    settings: IngestSettings = SETTINGS
    log: Log = field(default_factory=Log)
    clock: HandClock = field(default_factory=HandClock)
    rows: Storage = field(default_factory=lambda: Storage(DEFINITION.stored_schema))
    dead: Storage = field(default_factory=lambda: Storage(DEAD_SCHEMA))
    health: Health = NO_HEALTH
    pin: Pin | None = None  # of the breaker
    metrics: Metrics = field(default_factory=Metrics)
    made: int = 0
    late_decoding: bool = False  # no batch is decoded before the next one was polled
    _expected: tuple[dict[int, list[Message | None]], Expected] | None = None

    def sidecar(self, failpoint: CrashAt | None = None, committer: Worker | None = None) -> Sidecar:
        """A new process, not begun."""
        decoder = LateWorker() if self.late_decoding else InlineWorker()
        return Sidecar(self, failpoint or CrashAt(), committer or InlineWorker(), decoder)

    def next_id(self) -> str:
        """Ids that are unique over all processes."""
        self.made += 1
        return f"id-{self.made}"

    @property
    def marker(self) -> Marker:
        """The marker of the rows."""
        found = find_marker([s.summary for s in self.rows.ancestors()], self.rows.properties)
        assert found is not None
        return found

    def rows_table(self) -> Table:
        """The table of the rows, as one process opens it."""
        return MemoryTable(self.rows, "rows")

    def dead_table(self) -> Table:
        """The table of the dead letters, likewise."""
        return MemoryTable(self.dead, "dead")

    def rows_now(self) -> pa.Table:
        """All rows."""
        return self.rows.rows()

    def dead_now(self) -> pa.Table:
        """All dead letters."""
        return self.dead.rows()

    def check(self) -> None:
        """Each offset below the marker is exactly once in rows, dead letters or duplicates."""
        kept, rejected = self._expected_now()
        for partition, messages in self.log.partitions.items():
            by_lane = self.marker.next.get(partition, (0, 0, 0))
            live = self.marker.live_offset(partition)
            in_rows = offsets_of(self.rows_now(), partition)
            in_dead = offsets_of(self.dead_now(), partition)
            assert in_rows == Counter(o for o, lane in kept[partition] if o < by_lane[lane])
            assert all(n == 1 for n in in_dead.values())
            assert {o for o in in_dead if o < live} == {o for o in rejected[partition] if o < live}
            assert live <= len(messages)
        for storage in (self.rows, self.dead):
            texts = [s.summary.get(MARKER_KEY) for s in storage.all()]
            markers = [Marker.from_json(text) for text in texts if text]
            for earlier, later in pairwise(markers):
                assert is_at_or_after(later.next, earlier.next)
                assert later.epoch >= earlier.epoch

    def _expected_now(self) -> Expected:
        """`expected`, computed again only when the log has changed."""
        known = {p: list(m) for p, m in self.log.partitions.items()}
        if self._expected is None or self._expected[0] != known:
            self._expected = (known, self.expected())
        return self._expected[1]

    def expected(self) -> Expected:
        """Per partition the offsets that are rows and dead letters, by one pass over the log."""
        kept: dict[int, list[tuple[int, int]]] = {}
        rejected: dict[int, list[int]] = {}
        duplicates = DuplicateFilter(self.definition)
        for partition, messages in self.log.partitions.items():
            decoded = Decoder(self.definition).decode(_raw(partition, messages))
            lanes = lanes_of(self.definition, decoded.rows)
            keep = duplicates.keep(decoded.rows, lanes)
            places = zip(decoded.rows.column("_offset").to_pylist(), lanes.tolist(), strict=True)
            kept[partition] = [place for place, k in zip(places, keep, strict=True) if k]
            rejected[partition] = decoded.rejects.column("_offset").to_pylist()
        return kept, rejected


def _raw(partition: int, messages: list[Message | None]) -> RawBatch:
    there = [(o, m) for o, m in enumerate(messages) if m is not None]
    return RawBatch(
        [partition] * len(there),
        [o for o, _ in there],
        [m.timestamp_us for _, m in there],
        [m.key for _, m in there],
        [m.value for _, m in there],
    )


def offsets_of(rows: pa.Table, partition: int) -> Counter[int]:
    """How often each offset of that partition occurs."""
    pairs = zip(rows.column("_partition").to_pylist(), rows.column("_offset").to_pylist())  # noqa: B905
    return Counter(offset for found, offset in pairs if found == partition)


class Sidecar:
    """One process in a world."""

    def __init__(
        self, world: World, failpoint: CrashAt, committer: Worker, decoder: Worker
    ) -> None:
        self.world = world
        self.failpoint = failpoint
        self.log = ScriptedLog(world.log)
        self.stop = Stop(world.clock, timeout_s=30.0)
        self.pipeline = Pipeline(self._parts(committer, decoder), world.settings)

    def _parts(self, committer: Worker, decoder: Worker) -> Parts:
        world = self.world
        return Parts(
            definition=world.definition,
            log=self.log,
            look=world.log.look,
            log_again=lambda: ScriptedLog(world.log),
            rows=TableWriter(world.rows_table(), "rows", self._writer_parts()),
            dead=TableWriter(world.dead_table(), "dead", self._writer_parts()),
            committer=committer,
            watcher=InlineWorker(),
            decoder=decoder,
            clock=world.clock,
            backoff=self._backoff,
            stop=self.stop,
            health=world.health,
            pins=lambda: world.pin,
            metrics=world.metrics,
        )

    def _writer_parts(self) -> WriterParts:
        return WriterParts(
            self.world.next_id, self.stop, self._backoff(), self.failpoint, self.world.health
        )

    def _backoff(self) -> Backoff:
        return Backoff(Random(1), 0.05, 1.0)

    def begin(self) -> Sidecar:
        """Claim, seed, assign."""
        self.pipeline.begin()
        return self

    def step(self, times: int = 1) -> None:
        """Turns of the loop, half a second apart."""
        for _ in range(times):
            self.pipeline.step()
            self.world.clock.sleep(0.5)

    def catch_up(self, turns: int = 400) -> None:
        """Turn until everything that is in the log is committed."""
        for _ in range(turns):
            self.step()
            marker = self.world.marker
            ends = {p: len(m) for p, m in self.world.log.partitions.items()}
            if all(marker.next_offset(p) == end for p, end in ends.items()):
                return
        raise AssertionError("it does not catch up")


def with_rules(definition: TableDefinition, **changes: Any) -> TableDefinition:
    """The same table under other rules."""
    return replace(definition, **changes)
