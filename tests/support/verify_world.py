"""The same tables without a broker: the sidecar's loop over a scripted log, checked over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from contract.log import RawBatch
from highwater.verify.audit import Audit
from highwater.verify.facts import LogFacts
from highwater.verify.iceberg import PinnedTable
from highwater.verify.report import Outcome
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import IcebergTable
from tests.support.sidecar_world import World
from tests.support.verify_lab import ROWS, TablesLab

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.marker import Marker
    from contract.table import TableDefinition
    from highwater.simulate.log import Log
    from ingest.ports import Table


@dataclass
class LakeWorld(World):
    """The scripted log, with real tables."""

    catalog: Any = None

    @override
    def rows_table(self) -> Table:
        return self._table(rows_shape(self.definition))

    @override
    def dead_table(self) -> Table:
        return self._table(dead_shape(self.definition))

    def _table(self, shape: Any) -> Table:
        table = IcebergTable(self.catalog, "public", shape, self.next_id)
        table.ensure()
        return table

    @property
    @override
    def marker(self) -> Marker:
        found = self.rows_table().head().marker
        assert found is not None
        return found


@dataclass
class ScriptedTopic:
    """`LogPort` over a scripted log."""

    log: Log
    compacted: bool = False
    before_reading: Callable[[], None] = lambda: None

    def facts(self) -> LogFacts:
        bounds = {p: (self.log.low.get(p, 0), len(m)) for p, m in self.log.partitions.items()}
        return LogFacts(self.log.topic, self.log.topic_id, bounds, self.compacted)

    def messages(self, partition: int, start: int, end: int) -> tuple[int, RawBatch]:
        self.before_reading()
        first = min(max(start, self.log.low.get(partition, 0)), end)
        held = self.log.partitions[partition]
        there = [(o, m) for o in range(first, end) if (m := held[o]) is not None]
        return first, RawBatch(
            [partition] * len(there),
            [o for o, _ in there],
            [m.timestamp_us for _, m in there],
            [m.key for _, m in there],
            [m.value for _, m in there],
        )


@dataclass
class ScriptedLab(TablesLab):
    """Tables made from a scripted log."""

    world: LakeWorld = field(default_factory=LakeWorld)
    compacted: bool = False
    before_reading: Callable[[], None] = lambda: None

    def ingest(self, times: int = 1) -> None:
        """A sidecar process that takes everything; each further one only claims."""
        with self.catalog() as catalog:
            self.world.catalog = catalog
            for _ in range(times):
                self.world.sidecar().begin().catch_up()

    @override
    def verify(self, **settings: Any) -> Outcome:
        definition: TableDefinition = settings.get("definition", self.world.definition)
        topic = ScriptedTopic(self.world.log, self.compacted, self.before_reading)
        with self.catalog() as catalog:
            audit = Audit(
                definition,
                lambda name: PinnedTable(catalog, f"public.{name}"),
                topic,
                settings.get("strip_rows", 5),
                lambda _text: None,
            )
            return Outcome(ROWS, audit.run())
