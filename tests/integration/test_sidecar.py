"""The real sidecar process on a real broker: started, stopped, killed, fenced."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from contract.clock import SystemClock
from contract.settings import CommonSettings
from highwater.audit.script import KILL, Script
from highwater.status import document
from ingest.app import FENCED, OK, OPERATOR, UNEXPECTED
from ingest.iceberg_schema import rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from tests.support.broker import start_broker
from tests.support.sidecar_world import DEFINITION, TEXT
from tests.support.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from contract.marker import Marker
    from ingest.broker import EmbeddedBroker
    from tests.support.broker import TopicFactory

CLOCK = SystemClock()
ROOT = Path(__file__).parents[2]


def wait_for(what: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Poll until it is true."""
    deadline_s = CLOCK.monotonic_s() + timeout_s
    while not what():
        assert CLOCK.monotonic_s() < deadline_s, "it did not happen in time"
        CLOCK.sleep(0.05)


def value(message_id: str) -> bytes:
    return json.dumps({"id": message_id, "at": 1_700_000_000_000_000, "price": "1"}).encode()


@dataclass
class Lab:
    """A topic, a data directory, and the sidecars on them."""

    home: Path
    bootstrap: str
    topic: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *flags: str, orders: Path | None = None) -> subprocess.Popen[bytes]:
        """A sidecar process; what it logs is in `log`. `orders`: file of an audit's sidecar."""
        definition = self.home / "trades.toml"
        definition.write_text(TEXT.replace('topic = "trades"', f'topic = "{self.topic}"'))
        module = ["ingest"] if orders is None else ["highwater.audit.sidecar", str(orders)]
        command = [sys.executable, "-m", *module, "--data-dir", str(self.home / "data")]
        command += ["--kafka", self.bootstrap, "--tables", str(definition)]
        command += ["--topic-check-s", "0.3", "--flush-interval-s", "0.2"]
        command += ["--health-port", "0", *flags]
        with (self.home / f"log-{len(self.running)}").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=self._environment())
        self.running.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("HIGHWATER")}

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self.home / f"log-{self.running.index(process)}").read_text()

    def wait_started(self, process: subprocess.Popen[bytes]) -> None:
        wait_for(lambda: " of topic " in self.log(process))

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        self.wait_started(process)  # before that, nobody listens to the signal
        process.send_signal(signal.SIGTERM)
        return process.wait(40)

    def produce(self, values: list[bytes], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for content in values:
            producer.produce(self.topic, content, partition=partition)
        assert producer.flush(30) == 0

    def rows(self, name: str = "trades") -> pa.Table:
        with self._catalog() as catalog:
            return catalog.load_table(f"public.{name}").scan().to_arrow()

    def offsets(self, partition: int = 0, name: str = "trades") -> list[int]:
        """Those in the table, ordered, with repetitions."""
        rows = self.rows(name).to_pylist()
        return sorted(r["_offset"] for r in rows if r["_partition"] == partition)

    def live(self) -> set[Path]:
        """The data files of the head."""
        with self._catalog() as catalog:
            tasks = catalog.load_table("public.trades").scan().plan_files()
        return {Path(t.file.file_path.removeprefix("file://")) for t in tasks}

    def stored(self) -> list[Path]:
        """The data files in the table's directory."""
        return list((self.home / "data").rglob("trades/data/**/*.parquet"))

    def commits(self) -> int:
        """How many there were."""
        with self._catalog() as catalog:
            return int(catalog.load_table("public.trades").metadata.last_sequence_number)

    def marker(self) -> Marker | None:
        """None while there is no table or no marker."""
        if not (self.home / "data" / "catalog.db").exists():
            return None
        with self._catalog() as catalog:
            if not catalog.table_exists("public.trades"):
                return None
            table = IcebergTable(catalog, "public", rows_shape(DEFINITION), str)
            return table.head().marker

    def wait_next(self, next_offset: int, partition: int = 0) -> None:
        """Until the table holds all below this offset."""

        def reached() -> bool:
            marker = self.marker()
            return marker is not None and marker.next_offset(partition) >= next_offset

        wait_for(reached)

    @contextlib.contextmanager
    def _catalog(self) -> Iterator[Any]:
        catalog = open_catalog(CommonSettings(data_dir=self.home / "data"))
        try:
            yield catalog
        finally:
            catalog.close()

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def lab(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Lab]:
    made = Lab(tmp_path, bootstrap, new_topic(partitions=1))
    yield made
    made.close()


def test_messages_become_rows_and_dead_letters_and_sigterm_commits_the_rest(lab: Lab) -> None:
    """The flush interval is out of reach, so that only the stop can commit them."""
    lab.produce([value("a"), b"poison", value("b"), value("a")])
    process = lab.start("--flush-interval-s", "600", "--log-level", "debug")
    lab.wait_started(process)
    CLOCK.sleep(1.0)  # let it read: nothing outside says when it has
    assert lab.offsets() == []

    code = lab.stop(process)

    assert code == OK, lab.log(process)
    assert lab.offsets() == [0, 2]
    assert lab.offsets(name="trades_dead") == [1]
    marker = lab.marker()
    assert marker is not None
    assert (marker.rows, marker.dead_letters, marker.duplicates) == (2, 1, 1)
    assert lab.log(process).count("committed table=public.trades") == 1


def test_a_killed_sidecar_goes_on_without_loss_or_double(lab: Lab) -> None:
    """Killed with SIGKILL three times at moments that nothing coordinates."""
    total = 0
    for round_number in range(3):
        process = lab.start("--flush-rows", "20")
        lab.produce([value(f"{round_number}-{i}") for i in range(300)] + [b"poison"])
        total += 301
        lab.wait_next(total - 301 + 20 * round_number + 1)
        process.kill()
        process.wait()

    process = lab.start()
    lab.wait_next(total)
    assert lab.stop(process) == OK

    poison = {300, 601, 902}
    assert lab.offsets() == [o for o in range(total) if o not in poison]
    assert lab.offsets(name="trades_dead") == sorted(poison)


def test_the_older_of_two_sidecars_is_refused(lab: Lab) -> None:
    older = lab.start()
    lab.wait_started(older)
    newer = lab.start()
    lab.wait_started(newer)

    lab.produce([value(f"m{i}") for i in range(50)])

    assert older.wait(60) == FENCED
    assert "another sidecar took over" in lab.log(older)
    lab.wait_next(50)
    assert lab.stop(newer) == OK
    assert lab.offsets() == list(range(50))


def test_a_retention_gap_stops_it_and_is_noted_when_it_is_accepted(lab: Lab) -> None:
    lab.produce([value(f"m{i}") for i in range(10)])
    process = lab.start()
    lab.wait_next(10)
    assert lab.stop(process) == OK
    lab.produce([value(f"n{i}") for i in range(10)])
    admin = AdminClient({"bootstrap.servers": lab.bootstrap})
    for deleted in admin.delete_records([TopicPartition(lab.topic, 0, 15)]).values():
        deleted.result(30)

    refused = lab.start()
    assert refused.wait(60) == OPERATOR
    assert "--accept-gaps" in lab.log(refused)

    accepting = lab.start("--accept-gaps")
    lab.wait_next(20)
    assert lab.stop(accepting) == OK
    marker = lab.marker()
    assert marker is not None
    assert [(g.from_offset, g.to_offset) for g in marker.gaps] == [(10, 15)]
    assert lab.offsets() == [*range(10), *range(15, 20)]


def test_a_topic_made_again_while_it_runs_stops_it(lab: Lab) -> None:
    lab.produce([value(f"m{i}") for i in range(10)])
    process = lab.start()
    lab.wait_next(10)
    admin = AdminClient({"bootstrap.servers": lab.bootstrap})

    for deleted in admin.delete_topics([lab.topic]).values():
        deleted.result(30)

    assert process.wait(60) == OPERATOR
    assert "topic" in lab.log(process)
    assert lab.offsets() == list(range(10))


def test_a_topic_made_again_between_two_runs_stops_it(
    lab: Lab, broker: Any, new_topic: TopicFactory
) -> None:
    lab.produce([value("a")])
    first = lab.start()
    lab.wait_next(1)
    assert lab.stop(first) == OK
    admin = AdminClient({"bootstrap.servers": lab.bootstrap})
    for deleted in admin.delete_topics([lab.topic]).values():
        deleted.result(30)
    wait_for(lambda: lab.topic not in admin.list_topics(timeout=10).topics)
    wait_for(lambda: _made(broker, lab.topic))

    second = lab.start()

    assert second.wait(60) == OPERATOR
    assert "deleted and made again" in lab.log(second)


def _made(broker: Any, topic: str) -> bool:
    try:
        return bool(broker.create_topic(topic, 1, None))
    except Exception:  # noqa: BLE001 - it is still being deleted
        return False


def test_new_partitions_are_noticed_while_it_runs(lab: Lab) -> None:
    lab.produce([value("a")])
    process = lab.start()
    lab.wait_next(1)
    admin = AdminClient({"bootstrap.servers": lab.bootstrap})
    for made in admin.create_partitions([NewPartitions(lab.topic, 2)]).values():
        made.result(30)

    lab.produce([value("b"), value("c")], partition=1)
    lab.wait_next(2, partition=1)

    assert lab.stop(process) == OK
    assert lab.offsets(partition=1) == [0, 1]


def test_control_records_are_passed_and_aborted_messages_left_out(lab: Lab) -> None:
    """Offsets: 0-1 committed, 2 its control record, 3 aborted, 4 its control record."""
    producer = Producer({"bootstrap.servers": lab.bootstrap, "transactional.id": lab.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(lab.topic, value("a"), partition=0)
    producer.produce(lab.topic, value("b"), partition=0)
    producer.commit_transaction(30)
    producer.begin_transaction()
    producer.produce(lab.topic, value("c"), partition=0)
    producer.flush(30)
    producer.abort_transaction(30)

    process = lab.start()
    lab.wait_next(5)

    assert lab.stop(process) == OK
    assert lab.offsets() == [0, 1]


def test_a_broker_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    broker = start_broker(tmp_path / "broker")
    broker.create_topic("away", 1, None)
    lab = Lab(tmp_path, broker.bootstrap, "away")
    try:
        lab.produce([value(f"m{i}") for i in range(20)])
        process = lab.start()
        lab.wait_next(20)
        broker.kill()
        wait_for(lambda: "Connection refused" in lab.log(process))
        broker.start()
        lab.produce([value(f"n{i}") for i in range(20)])
        lab.wait_next(40)
        assert lab.stop(process) == OK
        assert lab.offsets() == list(range(40))
        assert lab.log(process).count("Connection refused") < 10
        stopped_without_a_broker(lab, broker)
    finally:
        lab.close()
        broker.stop()


def stopped_without_a_broker(lab: Lab, broker: EmbeddedBroker) -> None:
    """Nobody can say whether the topic is still the same one: nothing is committed, said so."""
    port = free_port()
    process = lab.start("--flush-interval-s", "600", "--health-port", str(port))
    lab.wait_started(process)
    lab.produce([value("last")])
    url = f"http://127.0.0.1:{port}/readyz"
    wait_for(lambda: _buffered_rows(document(url, "ingest", 5)) == 1)
    broker.kill()
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: document(url, "ingest", 5)["ready"] is False)
    reasons = document(url, "ingest", 5)["reasons"]
    assert "stopping" in {reason["code"] for reason in reasons}
    assert process.wait(40) == UNEXPECTED
    assert "read again at the next start" in lab.log(process)
    assert lab.offsets() == list(range(40))


def _buffered_rows(found: Mapping[str, Any]) -> int:
    return int(found["tables"].get("trades", {}).get("buffered_rows", 0))


def test_a_topic_that_does_not_exist_is_an_error_that_names_it(lab: Lab) -> None:
    lab.topic = "no-such-topic"

    process = lab.start()

    assert process.wait(60) == OPERATOR
    assert "topic 'no-such-topic' does not exist" in lab.log(process)


def test_two_tables_are_fed_by_one_process(lab: Lab, new_topic: TopicFactory) -> None:
    other = new_topic()
    lab.produce([value("a")])
    second = Lab(lab.home, lab.bootstrap, other)
    second.produce([value("x"), value("y")])
    text = TEXT.replace('topic = "trades"', f'topic = "{other}"')
    (lab.home / "quotes.toml").write_text(text.replace('name = "trades"', 'name = "quotes"'))

    process = lab.start("--tables", str(lab.home / "quotes.toml"))
    lab.wait_next(1)
    wait_for(lambda: "committed table=public.quotes" in lab.log(process))

    assert lab.stop(process) == OK
    assert lab.offsets() == [0]
    assert lab.offsets(name="quotes") == [0, 1]


def test_the_groups_offsets_are_left_for_lag_tools(lab: Lab) -> None:
    lab.produce([value(f"m{i}") for i in range(7)])
    process = lab.start()
    lab.wait_next(7)
    from confluent_kafka import Consumer

    reader = Consumer({"bootstrap.servers": lab.bootstrap, "group.id": "highwater-public-trades"})
    where = [TopicPartition(lab.topic, 0)]

    wait_for(lambda: reader.committed(where, timeout=10)[0].offset == 7)

    reader.close()
    assert lab.stop(process) == OK


def test_a_json_log_line_is_json(lab: Lab) -> None:
    lab.produce([value("a")])
    process = lab.start("--log-format", "json")
    lab.wait_next(1)
    assert lab.stop(process) == OK

    lines = [json.loads(line) for line in lab.log(process).splitlines()]

    kinds = Counter(line["level"] for line in lines)
    assert kinds["info"] >= 2
    assert any(line["message"].startswith("committed") for line in lines)


MAINTAINED = (
    "--maintenance-interval-s=0.2",
    "--orphan-interval-s=0.3",
    "--orphan-grace-s=0.5",
    "--compact-within-s=2",
    "--expire-every-commits=3",
    "--keep-snapshots=2",
    "--flush-interval-s=0.05",
    "--flush-rows=1",
)


def test_it_keeps_the_number_of_files_small_while_it_commits(lab: Lab) -> None:
    """In the table and in its directory; every row is there once."""
    process = lab.start(*MAINTAINED)
    for turn in range(20):
        lab.produce([value(f"{turn}-{n}") for n in range(5)])
        lab.wait_next(5 * turn + 5)

    numbers = count()

    def few() -> bool:
        lab.produce([value(f"more-{next(numbers)}")])  # the commits that let old files go
        return 4 * len(lab.stored()) < lab.commits()

    wait_for(few)
    assert lab.stop(process) == OK
    rows = lab.offsets()
    assert rows == list(range(len(rows)))
    assert len(lab.live()) < 16 < lab.commits()
    assert " compacted table=public.trades " in lab.log(process)


def test_a_sidecar_killed_within_a_compaction_leaves_only_what_is_removed_later(lab: Lab) -> None:
    places = ("compaction.writing", "compaction.before_commit", "compaction.after_commit")
    offset = 0
    for place in places:
        script = Script(lab.home / place)
        script.order(place, KILL)
        process = lab.start(*MAINTAINED, orders=lab.home / place)
        while process.poll() is None:
            lab.produce([value(f"id-{offset}")])
            offset += 1
            CLOCK.sleep(0.05)
        assert process.returncode == -signal.SIGKILL
        assert script.taken()
    left = set(lab.stored()) - lab.live()
    assert left

    process = lab.start(*MAINTAINED)
    lab.wait_next(offset)

    def gone() -> bool:
        nonlocal offset
        lab.produce([value(f"id-{offset}")])
        offset += 1
        return left.isdisjoint(lab.stored())

    wait_for(gone)
    lab.wait_next(offset)
    assert lab.stop(process) == OK
    assert lab.offsets() == list(range(offset))
