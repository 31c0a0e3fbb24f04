"""A real topic and the real tables that the real sidecar made of it, to be checked and spoiled."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import uuid
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typing_extensions import override

from contract.clock import SystemClock
from contract.definition import load_definition
from contract.marker import MARKER_KEY, Marker
from contract.settings import CommonSettings
from highwater.verify.command import check
from highwater.verify.config import VerifySettings
from highwater.verify.report import overall
from ingest.app import Environment, Sidecar
from ingest.config import IngestSettings
from ingest.iceberg_table import open_catalog
from ingest.stop import Stop
from tests.support.sidecar_world import TEXT
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from highwater.verify.audit import TableReport
    from highwater.verify.findings import Finding
    from highwater.verify.report import Outcome

CLOCK = SystemClock()
ROWS, DEAD = "public.trades", "public.trades_dead"
START_MS = 1_700_000_000_000
# The messages' timestamps are old, and the broker's default would delete them for that.
RETAINED = {"retention.ms": "-1"}


def value(message_id: str, price: int = 50) -> bytes:
    """A good message; its lane is HIGH from 100 up, LOW below 10."""
    at_us = 1_700_000_000_000_000 + (price % 3) * 86_400_000_000
    return json.dumps({"id": message_id, "at": at_us, "price": str(price)}).encode()


@dataclass
class TablesLab:
    """A folder with the tables of one topic."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    def verify(self, **settings: Any) -> Outcome:
        """One run over the table."""
        raise NotImplementedError

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Catalog]:
        self.data.mkdir(exist_ok=True)
        catalog = open_catalog(CommonSettings(data_dir=self.data))
        try:
            yield catalog
        finally:
            catalog.close()

    @contextlib.contextmanager
    def table(self, name: str = ROWS) -> Iterator[Table]:
        with self.catalog() as catalog:
            yield catalog.load_table(name)

    def marker(self, name: str = ROWS) -> Marker | None:
        with self.catalog() as catalog:
            if not catalog.table_exists(name):
                return None
            text = catalog.load_table(name).properties.get(MARKER_KEY)
            return Marker.from_json(text) if text else None

    def files(self, name: str = ROWS) -> list[dict[str, Any]]:
        """The live data files, by name: path, rows, offsets of each partition."""
        with self.table(name) as table:
            tasks = [task.file for task in table.scan().plan_files()]
        found = [{"path": f.file_path, "rows": f.record_count} for f in tasks]
        return sorted(found, key=lambda f: str(f["path"]))

    def commit_marker(self, marker: Marker, name: str = ROWS) -> None:
        """A commit without rows that says what the marker says, as a sidecar would."""
        with self.table(name) as table, table.transaction() as transaction:
            append = transaction.update_snapshot({MARKER_KEY: marker.to_json()}).merge_append()
            append.commit()
            transaction.set_properties({MARKER_KEY: marker.to_json()})

    def report(self, **settings: Any) -> TableReport:
        outcome = self.verify(**settings)
        assert outcome.report is not None, outcome.reason
        return outcome.report

    def findings(self, check_id: str = "", **settings: Any) -> list[Finding]:
        """All findings, or those of one check; there must be one then, and a failed outcome."""
        outcome = self.verify(**settings)
        assert outcome.report is not None, outcome.reason
        found = outcome.report.ledger.findings
        if not check_id:
            return found
        assert overall([outcome]) == "failed"
        mine = [f for f in found if f.check == check_id]
        assert mine, f"no {check_id} among {[(f.check, f.text) for f in found]}"
        return mine

    def back_up(self) -> None:
        shutil.copytree(self.data, self.home / "backup")

    def restore(self) -> None:
        shutil.rmtree(self.data)
        shutil.copytree(self.home / "backup", self.data)


@dataclass
class VerifyLab(TablesLab):
    """With a topic on a broker, and the sidecars and checks on both."""

    bootstrap: str
    topic: str
    ends: dict[int, int] = field(default_factory=dict)
    _now_ms: int = START_MS

    def __post_init__(self) -> None:
        text = TEXT.replace('topic = "trades"', f'topic = "{self.topic}"')
        self.definition_path.write_text(text)

    @property
    def definition_path(self) -> Path:
        return self.home / "trades.toml"

    # -- the topic

    def produce(self, partition: int, *values: bytes | None) -> None:
        """One message each, a second apart in the broker's time."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for content in values:
            self._now_ms += 1_000
            producer.produce(
                self.topic, content, key=b"k", partition=partition, timestamp=self._now_ms
            )
        assert producer.flush(30) == 0
        self.ends[partition] = self.ends.get(partition, 0) + len(values)

    def transaction(self, partition: int, *values: bytes, commit: bool) -> None:
        """Its control record takes an offset too."""
        settings = {"bootstrap.servers": self.bootstrap, "transactional.id": f"{self.topic}-t"}
        producer = Producer(settings)
        producer.init_transactions(30)
        producer.begin_transaction()
        for content in values:
            self._now_ms += 1_000
            producer.produce(self.topic, content, partition=partition, timestamp=self._now_ms)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
        self.ends[partition] = self.ends.get(partition, 0) + len(values) + 1

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})

    # -- the sidecar

    @contextlib.contextmanager
    def sidecar(self, **settings: Any) -> Iterator[None]:
        """A running one; stopped in order at the end."""
        stop = Stop(CLOCK, 30.0)
        common: dict[str, Any] = {
            "data_dir": self.data,
            "kafka": self.bootstrap,
            "tables": (str(self.definition_path),),
            "flush_interval_s": 0.1,
            "flush_rows": 8,
            "topic_check_s": 0.5,
            "expire_every_commits": 0,
        }
        made = IngestSettings(**{**common, **settings})
        sidecar = Sidecar(made, Environment(CLOCK, Random(1), lambda: uuid.uuid4().hex, stop))
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(sidecar.run()))
        thread.start()
        try:
            yield
        finally:
            stop.request()
            thread.join(60)
        assert codes == [0]

    def ingest(self, **settings: Any) -> None:
        """Run a sidecar until everything is in the table."""
        with self.sidecar(**settings):
            wait_until(self._is_ingested, lambda: f"not ingested: {self.ends}")

    def _is_ingested(self) -> bool:
        marker = self.marker()
        return marker is not None and all(
            marker.next_offset(p) >= end for p, end in self.ends.items()
        )

    @override
    def verify(self, **settings: Any) -> Outcome:
        common: dict[str, Any] = {
            "data_dir": self.data,
            "kafka": self.bootstrap,
            "tables": (str(self.definition_path),),
            "strip_rows": 16,
        }
        made = VerifySettings(**{**common, **settings})
        return check(made, load_definition(made.tables[0]))


def a_history(lab: VerifyLab) -> None:
    """Several sidecars, a compaction and an expiry, and all that a log of three partitions holds.

    Offsets of partition 0: rows. 1: row, poison, tombstone, duplicate, rows, poison. 2: two rows
    of a transaction and its control record, an aborted message and its control record, a row.
    """
    lab.produce(0, *(value(f"a{i}", 10 * i) for i in range(12)))
    lab.produce(1, value("b0"), b"poison", None, value("b0"), value("b1", 5), value("b2", 500))
    lab.ingest()
    lab.transaction(2, value("c0"), value("c1"), commit=True)
    lab.transaction(2, value("c2"), commit=False)
    lab.ingest()
    with lab.table() as table:
        table.overwrite(table.scan().to_arrow())
        old = [s.snapshot_id for s in table.snapshots()[:2]]
    with lab.table() as table:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    lab.produce(0, *(value(f"d{i}", 10 * i) for i in range(6)))
    lab.produce(1, b"more poison", value("b3"))
    lab.produce(2, value("c3"))
    lab.ingest()


def changed(marker: Marker | None, **changes: Any) -> Marker:
    """The next marker after this one, with these changes."""
    assert marker is not None
    none: Mapping[str, Any] = {"rows": 0, "dead_letters": 0, "duplicates": 0}
    return replace(marker, **{"commit_id": uuid.uuid4().hex, **none, **changes})
