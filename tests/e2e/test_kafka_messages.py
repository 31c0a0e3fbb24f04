"""Kafka as it really is: transactions, compaction, partitions and odd messages, in both processes.

One sidecar and one server follow all the topics. `see_twice` looks at a table in the tail and
again in the lake: an answer must not change when its rows move. What a topic or a broker does as a
whole is in `test_kafka_topics.py`; each promise in words is in `docs/kafka.md`.
"""

from __future__ import annotations

import hashlib
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from ingest.kafka.properties import MESSAGE_MAX_BYTES
from tests.support.live_tables import LiveTables, event, ids, places
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.broker import EmbeddedBroker

DEADLINE_S = 30.0
ANY_TIME = {"message.timestamp.after.max.ms": str(2**63 - 1)}
TOPICS: dict[str, dict[str, str]] = {
    "transactions": {},
    "hanging": {},
    "grown": {},
    "compacted": {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
    },
    "keys": {},
    "tombstones": {},
    "largest": {},
    "garbage": {},
    "created": ANY_TIME,
    "appended": {"message.timestamp.type": "LogAppendTime"},
    "codecs": {},
}
RECORD_OVERHEAD = 61 + 13  # of a batch, and of a record of some megabytes without a key


@dataclass
class Lab:
    """The processes, and producers of the topics."""

    live: LiveTables
    bootstrap: str
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPICS, 0))

    def producer(self, **settings: Any) -> Producer:
        return Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, **settings})

    def transactional(self, name: str) -> Producer:
        producer = self.producer(**{"transactional.id": name})
        producer.init_transactions(DEADLINE_S)
        return producer

    def send(self, producer: Producer, topic: str, *messages: dict[str, Any]) -> None:
        """Acknowledged when it returns; each of `value`, `key`, `headers`, `timestamp`."""
        failed: list[KafkaError] = []
        for message in messages:
            producer.produce(
                topic,
                **{"partition": 0, **message},
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert producer.flush(DEADLINE_S) == 0
        assert failed == []


def values(*event_ids: str) -> list[dict[str, Any]]:
    return [{"value": event(event_id)} for event_id in event_ids]


@pytest.fixture(scope="module")
def lab(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for topic, config in TOPICS.items():
        assert broker.create_topic(topic, 1, config)
    made = LiveTables(tmp_path_factory.mktemp("kafka"), broker.bootstrap, list(TOPICS))
    try:
        made.start_ingest()
        made.start_serve()
        for topic in TOPICS:
            made.see_at(topic, {0: 0})
        yield Lab(made, broker.bootstrap)
    finally:
        made.stop()


def test_of_transactions_the_committed_ones_alone_are_rows_and_control_records_are_holes(
    lab: Lab,
) -> None:
    """Offsets: 0-1 committed, 2 control, 3-5 aborted, 6 control, 7 committed, 8 control, 9
    aborted, 10 control."""
    producer = lab.transactional("transactions")
    lab.live.hold()
    for event_ids, finish in [
        (["a", "b"], producer.commit_transaction),
        (["c", "d", "e"], producer.abort_transaction),
        (["f"], producer.commit_transaction),
        (["g"], producer.abort_transaction),
    ]:
        producer.begin_transaction()
        lab.send(producer, "transactions", *values(*event_ids))
        finish(DEADLINE_S)

    seen = lab.live.see_twice("transactions", {0: 11})

    assert ids(seen.rows) == ["a", "b", "f"]
    assert places(seen.rows) == [(0, 0), (0, 1), (0, 7)]
    assert seen.dead == []
    complete = lab.live.wait_complete("transactions")
    assert complete.table["lag_messages"] == 0
    assert complete.rows == seen.rows


@pytest.mark.parametrize("committed", [True, False])
def test_an_open_transaction_bounds_the_cut_at_the_last_stable_offset(
    lab: Lab, committed: bool
) -> None:
    """Another producer's message behind it waits too, and the receipt says that it does."""
    start = lab.ends["hanging"]
    before = ids(lab.live.see_at("hanging", {0: start}).rows)
    hanging = lab.transactional("hanging")
    hanging.begin_transaction()
    lab.send(hanging, "hanging", *values(f"open-{start}"))
    lab.send(lab.producer(), "hanging", *values(f"behind-{start}"))

    def waits() -> dict[str, Any] | None:
        seen = lab.live.see("hanging")
        good = seen is not None and seen.table["lag_messages"] == 2
        return seen.table if good and seen is not None else None

    table = wait_until(waits, lambda: f"no lag: {lab.live.see('hanging')}")
    held_back = lab.live.see_at("hanging", {0: start})
    lab.live.see_at("hanging", {0: start}, "lake")
    lab.live.hold()
    if committed:
        hanging.commit_transaction(DEADLINE_S)
    else:
        hanging.abort_transaction(DEADLINE_S)
    seen = lab.live.see_twice("hanging", {0: start + 3})
    lab.ends["hanging"] = start + 3

    assert (table["state"], table["cut"]["0"]["LOW"]) == ("lagging", start)
    assert ids(held_back.rows) == before
    opened = [f"open-{start}"] if committed else []
    assert ids(seen.rows) == [*before, *opened, f"behind-{start}"]
    lab.live.wait_complete("hanging")


def test_a_partition_that_is_added_is_read_by_both_and_named_in_the_receipt(lab: Lab) -> None:
    lab.send(lab.producer(), "grown", *values("a"))
    lab.live.see_at("grown", {0: 1}, "lake")
    admin = AdminClient({"bootstrap.servers": lab.bootstrap})
    admin.create_partitions([NewPartitions("grown", 2)])["grown"].result(DEADLINE_S)

    lab.live.see_at("grown", {0: 1, 1: 0})
    lab.live.hold()
    repeated = [{**message, "partition": 1} for message in values("b", "c", "b", "a")]
    lab.send(lab.producer(), "grown", *repeated)
    seen = lab.live.see_twice("grown", {0: 1, 1: 4})

    # Repetitions are found within one partition only: "a" is another row there.
    assert ids(seen.rows) == ["a", "b", "c", "a"]
    assert places(seen.rows) == [(0, 0), (1, 0), (1, 1), (1, 3)]


def test_what_compaction_removes_before_its_ingestion_is_a_hole_and_what_was_committed_stays(
    lab: Lab,
) -> None:
    clean_soon(lab.bootstrap)
    producer = lab.producer()

    def round_of(name: str) -> list[dict[str, Any]]:
        return [{"value": event(f"{name}-{k}"), "key": k.encode()} for k in "xyz"]

    lab.send(producer, "compacted", *round_of("committed"))
    lab.live.see_at("compacted", {0: 3}, "lake")
    lab.live.hold()
    lab.send(producer, "compacted", *round_of("removed"), *round_of("newest"))
    visible = lab.live.see_at("compacted", {0: 9})

    def roll() -> list[int] | None:
        """A message rolls the segment once its time is over; the cleaner takes closed ones."""
        lab.send(producer, "compacted", {"value": event("roll"), "key": b"roll"})
        found = offsets_in_log(lab.bootstrap, "compacted")
        return found if found[0] == 6 else None

    survivors = wait_until(roll, lambda: f"not compacted: {lab.live.see('compacted')}")
    end = survivors[-1] + 1
    before_commit = lab.live.see_at("compacted", {0: end})
    lab.live.release()
    seen = lab.live.see_at("compacted", {0: end}, "lake")

    assert ids(visible.rows)[:9] == [
        f"{name}-{k}" for name in ("committed", "removed", "newest") for k in "xyz"
    ]
    assert ids(before_commit.rows)[:9] == ids(visible.rows)[:9]
    assert ids(seen.rows)[:6] == [f"{name}-{k}" for name in ("committed", "newest") for k in "xyz"]
    assert set(places(seen.rows)) <= {(0, o) for o in [0, 1, 2, *survivors]}
    assert lab.live.gaps("compacted") == []


def clean_soon(bootstrap: str) -> None:
    """Let the broker look for logs to compact every 100 ms, instead of 15 s."""
    kafka: Any = kafka_admin
    soon = kafka.ConfigEntry(
        "log.cleaner.backoff.ms", "100", incremental_operation=kafka.AlterConfigOpType.SET
    )
    everywhere = kafka.ConfigResource(kafka.ResourceType.BROKER, "1", incremental_configs=[soon])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([everywhere])[everywhere].result(DEADLINE_S)


def offsets_in_log(bootstrap: str, topic: str) -> list[int]:
    """Of the messages that are left."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "test", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    while True:
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        if error := message.error():
            assert error.code() == KafkaError._PARTITION_EOF
            consumer.close()
            return found
        found.append(message.offset() or 0)


def test_keys_and_headers_change_nothing_and_dead_letters_keep_the_bytes(lab: Lab) -> None:
    headers = [("trace", b"\xff\x00"), ("trace", None)]
    good: list[dict[str, Any]] = [
        {"value": event("null-key")},
        {"value": event("empty-key"), "key": b""},
        {"value": event("bytes-key"), "key": b"\xff\x00\n"},
        {"value": event("headers"), "headers": headers},
    ]
    bad: list[dict[str, Any]] = [
        {"value": b"", "key": b"k"},
        {"value": b"\xff{", "key": b"\xff\x00\n", "headers": headers},
        {"value": b"{}", "key": None},
    ]
    lab.live.hold()
    lab.send(lab.producer(), "keys", *good, *bad)

    seen = lab.live.see_twice("keys", {0: 7})

    assert ids(seen.rows) == ["null-key", "empty-key", "bytes-key", "headers"]
    assert [(d["key"], d["value"]) for d in seen.dead] == [(m["key"], m["value"]) for m in bad]
    assert [d["reason"] for d in seen.dead] == [
        "empty value",
        "invalid UTF-8 at byte 0",
        "field 'id': missing",
    ]


def test_a_tombstone_is_a_dead_letter_with_this_very_reason_and_is_counted(lab: Lab) -> None:
    lab.live.hold()
    tombstone = {"value": None, "key": b"a"}
    lab.send(lab.producer(), "tombstones", *values("a"), tombstone, *values("b"), tombstone)

    seen = lab.live.see_twice("tombstones", {0: 4})

    assert ids(seen.rows) == ["a", "b"]
    assert [(d["_offset"], d["reason"]) for d in seen.dead] == [(1, "tombstone"), (3, "tombstone")]
    assert [(d["key"], d["value"]) for d in seen.dead] == [(b"a", None)] * 2
    markers = lab.live.markers("tombstones")
    assert sum(m["tombstones"] for m in markers) == sum(m["dead_letters"] for m in markers) == 2


def test_a_message_of_exactly_the_brokers_maximum_is_a_row(lab: Lab) -> None:
    producer = lab.producer(**{"message.max.bytes": 2 * MESSAGE_MAX_BYTES})
    refused: list[KafkaError | None] = []
    largest = event("largest").ljust(MESSAGE_MAX_BYTES - RECORD_OVERHEAD)
    producer.produce("largest", largest + b" ", on_delivery=lambda e, _: refused.append(e))
    assert producer.flush(DEADLINE_S) == 0
    assert refused[0] is not None
    assert refused[0].code() == KafkaError.MSG_SIZE_TOO_LARGE

    lab.live.hold()
    lab.send(producer, "largest", *values("before"), {"value": largest}, *values("after"))

    seen = lab.live.see_twice("largest", {0: 3})

    assert ids(seen.rows) == ["before", "largest", "after"]


def test_many_huge_messages_pass_through_bounded_memory_into_the_dead_letters(lab: Lab) -> None:
    producer = lab.producer(**{"message.max.bytes": 2 * MESSAGE_MAX_BYTES})
    garbage = [bytes([65 + i]) * 10_000_000 for i in range(10)]
    lab.live.hold()
    lab.send(producer, "garbage", *({"value": value} for value in garbage))
    sql = "SELECT _offset, reason, md5(value) AS md5 FROM garbage_dead ORDER BY _offset"
    cut = "SELECT max(lake_next_offset) AS lake, max(cut_offset) AS cut FROM system.cut WHERE "
    cut += "\"table\" = 'garbage'"

    def reached(column: str) -> None:
        wait_until(lambda: lab.live.stack.ask(cut)[0][column] == 10, lab.live.stack.logs)

    reached("cut")
    in_tail = lab.live.stack.ask(sql)
    lab.live.release()
    reached("lake")

    assert lab.live.stack.ask(sql) == in_tail
    assert [d["md5"] for d in in_tail] == [hashlib.md5(v).hexdigest() for v in garbage]
    assert {d["reason"][:13] for d in in_tail} == {"invalid JSON:"}
    for name in ("ingest", "serve"):
        assert peak_bytes(lab.live.stack._processes[name].pid) < 1_200_000_000


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_create_times_are_taken_as_they_are_and_the_duplicate_rule_never_goes_back(
    lab: Lab,
) -> None:
    """The rule's clock is the newest time so far: once it is in 2200, the rows before are old."""
    now = datetime.now(UTC).replace(microsecond=0)
    epoch, far = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    none = -1  # no timestamp
    sent: list[tuple[str, datetime | int]] = [
        ("a", now), ("a", now - timedelta(hours=1)), ("early", epoch + timedelta(milliseconds=1)),
        ("none", none), ("late", far), ("a", now), ("a", now - timedelta(hours=1)),
    ]  # fmt: skip
    lab.live.hold()
    for event_id, at in sent:
        ms = at if isinstance(at, int) else int(at.timestamp() * 1000)
        lab.send(lab.producer(), "created", {"value": event(event_id), "timestamp": ms})

    seen = lab.live.see_twice("created", {0: 7})

    assert ids(seen.rows) == ["a", "early", "none", "late", "a"]
    assert [r["_offset"] for r in seen.rows] == [0, 2, 3, 4, 5]
    assert [r["_timestamp"] for r in seen.rows] == [
        now, epoch + timedelta(milliseconds=1), epoch, far, now
    ]  # fmt: skip


def test_append_times_are_the_brokers_whatever_the_producer_says(lab: Lab) -> None:
    lab.live.hold()
    before = time.time()
    lab.send(lab.producer(), "appended", {"value": event("a"), "timestamp": 1})

    seen = lab.live.see_twice("appended", {0: 1})

    assert before - 1 <= seen.rows[0]["_timestamp"].timestamp() <= time.time() + 1


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_of_an_idempotent_producer_are_rows(lab: Lab, codec: str) -> None:
    start = lab.ends["codecs"]
    settings = {"compression.type": codec, "enable.idempotence": True, "linger.ms": 50}
    wanted = [f"{codec}-{i}" for i in range(200)]
    lab.live.hold()
    lab.send(lab.producer(**settings), "codecs", *values(*wanted))

    seen = lab.live.see_twice("codecs", {0: start + 200})
    lab.ends["codecs"] = start + 200

    assert ids(seen.rows)[start:] == wanted


def test_a_restart_of_both_changes_no_answer_to_any_of_these_topics(lab: Lab) -> None:
    names = [name for name in TOPICS if name != "garbage"]
    before = {name: lab.live.see(name) for name in names}
    lab.live.release()
    lab.live.stack.signal("ingest", signal.SIGTERM)
    lab.live.stack.kill("serve")
    assert lab.live.stack.exit_code("ingest") == 0
    lab.live.start_ingest()
    lab.live.start_serve()

    for name in names:
        seen = before[name]
        assert seen is not None
        cut = {int(p): lanes["LOW"] for p, lanes in seen.table["cut"].items()}
        again = lab.live.see_at(name, cut)
        assert (again.rows, again.dead) == (seen.rows, seen.dead), name
