"""A foreign tool on the same table: PyIceberg by itself, which knows nothing of markers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from sqlalchemy.exc import OperationalError

from contract.definition import load_definition
from contract.marker import MAINTENANCE_KEY, MARKER_KEY
from highwater.audit.lineage import (
    FOREIGN_KEY,
    FOREIGN_PARTITION,
    FOREIGN_SYMBOL,
    ForeignRow,
)
from highwater.audit.log_model import UNIT
from ingest.iceberg_schema import rows_shape
from ingest.parquet_writer import Target, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from pyiceberg.table import Table

    from contract.clock import Clock
    from highwater.audit.judge import Knowledge

_TRADES = load_definition("trades")
_ATTEMPTS = 30
_WAIT_S = 0.1
_ROWS_MAX = 50
_BACK_COMMITS = (2, 5)
_OWN_FILES = ("foreign-", "compacted-")
_LOST = (CommitFailedException, OperationalError)
T = TypeVar("T")


class NoSuccessError(Exception):
    """The tool was outrun in every attempt."""


@dataclass
class ForeignTool:
    """Every method returns when its commit is in the table."""

    data_dir: Path
    knowledge: Knowledge
    clock: Clock
    _number: int = 0

    def append(self, rng: Random) -> int:
        """Add a few rows of its own; the snapshot."""
        self._number += 1
        number = str(self._number)
        count = rng.randrange(1, _ROWS_MAX)
        rows = tuple(
            ForeignRow(
                f"foreign-{number}-{n}", self._number * _ROWS_MAX + n, rng.randrange(1, UNIT), n
            )
            for n in range(count)
        )
        with self.knowledge.lock:
            self.knowledge.lineage.announce(number, rows)
        with self._table() as load:
            table = load()
            files = write_files(
                self._stored(rows), Target(table, rows_shape(_TRADES)), f"foreign-{number}"
            )

            def attempt() -> int:
                transaction = load().transaction()
                append = transaction.update_snapshot({FOREIGN_KEY: number}).fast_append()
                for file in files:
                    append.append_data_file(file)
                append.commit()
                transaction.commit_transaction()
                return int(append.snapshot_id)

            return self._insist(attempt)

    def compact(self) -> int:
        """Make one file per day of all files; the snapshot."""
        with self._table() as load:
            for _ in range(_ATTEMPTS):
                try:
                    return self._compact(load)
                except ValidationException:  # the sidecar has put some of them together itself
                    self.clock.sleep(_WAIT_S)
        raise NoSuccessError("the sidecar's compactions were faster in every attempt")

    def _compact(self, load: Callable[[], Table]) -> int:
        table = load()
        replaced = [task.file for task in table.scan().plan_files()]
        rows = table.scan().to_arrow()
        target = Target(table, rows_shape(_TRADES))
        self._number += 1
        files = write_files(rows, target, f"compacted-{self._number}")

        def attempt() -> int:
            transaction = load().transaction()
            overwrite = transaction.update_snapshot().overwrite()
            for file in replaced:
                overwrite.delete_data_file(file)
            for file in files:
                overwrite.append_data_file(file)
            overwrite.commit()
            transaction.commit_transaction()
            return int(overwrite.snapshot_id)

        return self._insist(attempt)

    def orphans(self) -> set[Path]:
        """The sidecar's data files that no known snapshot names.

        Not this tool's own: those of other writers may be committed late, so they are kept longer.
        """
        with self._table() as load:
            table = load()
            manifests = {
                m.manifest_path: m for s in table.snapshots() for m in s.manifests(table.io)
            }
            named = {
                entry.data_file.file_path.removeprefix("file://")
                for manifest in manifests.values()
                for entry in manifest.fetch_manifest_entry(table.io)
            }
            directory = Path(table.location().removeprefix("file://")) / "data"
        return {
            path
            for path in directory.rglob("*.parquet")
            if str(path) not in named and not path.name.startswith(_OWN_FILES)
        }

    def files(self) -> int:
        """How many data files the table has."""
        with self._table() as load:
            head = load().current_snapshot()
        summary = head.summary if head is not None else None
        return int(summary.additional_properties["total-data-files"]) if summary else 0

    def expire(self) -> int:
        """Forget every snapshot but the newest; how many went."""
        with self._table() as load:

            def attempt() -> int:
                table = load()
                head = table.current_snapshot()
                old = [
                    s.snapshot_id
                    for s in table.metadata.snapshots
                    if head is None or s.snapshot_id != head.snapshot_id
                ]
                table.maintenance.expire_snapshots().by_ids(old).commit()
                return len(old)

            return self._insist(attempt)

    def roll_back(self, rng: Random) -> int:
        """Go back a few commits; the snapshot that is the newest now."""
        back = rng.randrange(*_BACK_COMMITS)
        with self._table() as load:

            def attempt() -> int:
                table = load()
                marked = list(_marked(table))
                target = marked[min(back, len(marked) - 1)]
                table.manage_snapshots().rollback_to_snapshot(target).commit()
                return target

            return self._insist(attempt)

    def _insist(self, attempt: Callable[[], T]) -> T:
        """Again, on the table as it is then, whenever the sidecar was faster."""
        for _ in range(_ATTEMPTS):
            try:
                return attempt()
            except _LOST:
                self.clock.sleep(_WAIT_S)
        raise NoSuccessError("the foreign tool was outrun by the sidecar in every attempt")

    @contextmanager
    def _table(self) -> Iterator[Callable[[], Table]]:
        """Loads the table; what it loads is learnt, so that no snapshot is missed."""
        root = self.data_dir.absolute()
        catalog = SqlCatalog(
            "highwater", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}/warehouse"
        )

        def load() -> Table:
            table = catalog.load_table("public.trades")
            with self.knowledge.lock:
                self.knowledge.lineage.learn(table.metadata.model_dump(by_alias=True, mode="json"))
            return table

        try:
            yield load
        finally:
            catalog.close()

    def _stored(self, rows: tuple[ForeignRow, ...]) -> pa.Table:
        now = datetime.fromtimestamp(self.clock.wall_s(), UTC)
        made: list[dict[str, Any]] = [
            {
                "message_id": row.message_id,
                "trade_id": row.message_id,
                "symbol": FOREIGN_SYMBOL,
                "exchange": "NONE",
                "asset_class": "crypto",
                "timestamp": now,
                "price": Decimal(row.price) / UNIT,
                "quantity": Decimal(row.quantity) / UNIT,
                "currency": "USDT",
                "side": "BUY",
                "trade_conditions": [],
                "ingestion_timestamp": now,
                "_partition": FOREIGN_PARTITION,
                "_offset": row.offset,
                "_timestamp": now,
            }
            for row in rows
        ]
        return pa.Table.from_pylist(made, schema=_TRADES.stored_schema)


def _marked(table: Table) -> Iterator[int]:
    """The newest snapshot's ancestors that are flushes of a sidecar, newest first."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        if MARKER_KEY in summary and MAINTENANCE_KEY not in summary:
            yield snapshot.snapshot_id
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
