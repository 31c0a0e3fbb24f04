"""A real table with many small files, its sidecar's writer, and its maintenance."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.clock import SystemClock
from contract.marker import Marker
from ingest.backoff import Backoff
from ingest.commit import TableWriter, WriterParts
from ingest.iceberg_schema import rows_shape
from ingest.iceberg_table import IcebergTable
from ingest.maintenance.config import MaintenanceSettings
from ingest.maintenance.lake import MaintainedTable
from ingest.maintenance.maintainer import Maintainer
from ingest.maintenance.swap import Lander
from ingest.ports import Head, no_failpoint
from ingest.stop import Stop
from tests.support.sidecar_world import DEFINITION

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.catalog import Catalog

    from contract.clock import Clock
    from contract.table import TableDefinition

MARKER = Marker("trades", "topic-1", 1, "c0", {0: (0, 0, 0)}, {}, 0, 0, 0, 0, 0, "rules")
DAY_US = 86_400_000_000
EVERYTHING: dict[str, Any] = {"orphan_grace_s": 0.0, "compact_within_s": 0.5}


def an_id() -> str:
    return uuid.uuid4().hex


def always() -> bool:
    return True


@dataclass
class Lab:
    """One table; `clock`: of the maintenance. The writer's offsets go up from 0."""

    catalog: Catalog
    folder: Path
    definition: TableDefinition = DEFINITION
    clock: Clock = field(default_factory=SystemClock)
    next_offset: int = 0

    def __post_init__(self) -> None:
        self.writer = self.new_writer()

    @property
    def identifier(self) -> str:
        return f"public.{self.definition.name}"

    def new_writer(self) -> TableWriter:
        """A sidecar's; it takes over."""
        table = IcebergTable(self.catalog, "public", rows_shape(self.definition), an_id)
        table.ensure()
        stop = Stop(SystemClock(), 30.0)
        parts = WriterParts(an_id, stop, Backoff(Random(3), 0.01, 0.05), no_failpoint)
        writer = TableWriter(table, "rows", parts)

        def make(head: Head) -> Marker:
            old = head.marker
            return replace(old, epoch=old.epoch + 1, rows=0) if old else MARKER

        writer.claim(make)
        return writer

    def rows(self, count: int, day: int = 0) -> pa.Table:
        """The next rows of partition 0, with ids and prices that differ."""
        offsets = range(self.next_offset, self.next_offset + count)
        made = [
            {
                "id": f"id-{o}",
                "at": day * DAY_US + o,
                "price": o,
                "_partition": 0,
                "_offset": o,
                "_timestamp": o,
            }
            for o in offsets
        ]
        return pa.Table.from_pylist(made, schema=self.definition.stored_schema)

    def append(self, count: int = 3, day: int = 0) -> None:
        """One flush."""
        rows = self.rows(count, day)
        self.next_offset += count
        self.commit(self.writer.write(rows))

    def commit(self, written: Any) -> None:
        """Commit files as the flush that ends at `next_offset`."""
        marker = replace(self.writer.marker, next={0: (self.next_offset,) * 3}, rows=written.rows)
        self.writer.commit(written, marker)

    def maintainer(
        self,
        *,
        epoch: int | None = None,
        failpoint: Callable[[str], None] = no_failpoint,
        **settings: Any,
    ) -> Maintainer:
        chosen = MaintenanceSettings(data_dir=self.folder, **{"compact_cpu_share": 1.0, **settings})
        shape = rows_shape(self.definition)
        table = MaintainedTable(self.catalog, "public", shape, an_id)
        lander = Lander(
            table,
            self.clock,
            lambda: Backoff(Random(1), 0.01, 0.05),
            chosen.compact_within_s,
            epoch=lambda: epoch,
            failpoint=failpoint,
        )
        return Maintainer(table, lander, self.clock, chosen)

    # -- what is there

    def content(self) -> pa.Table:
        """All rows, ordered."""
        found = self.catalog.load_table(self.identifier).scan().to_arrow()
        return found.sort_by([("_partition", "ascending"), ("_offset", "ascending")])

    def live(self) -> list[Path]:
        """The data files of the head."""
        tasks = self.catalog.load_table(self.identifier).scan().plan_files()
        return sorted(Path(t.file.file_path.removeprefix("file://")) for t in tasks)

    def stored(self, ending: str = ".parquet") -> list[Path]:
        """All files in the table's directory with that ending."""
        location = self.catalog.load_table(self.identifier).location()
        return sorted(Path(location.removeprefix("file://")).rglob(f"*{ending}"))
