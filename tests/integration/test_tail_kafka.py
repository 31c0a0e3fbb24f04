"""The tail over a real broker: control records, partitions, retention, restarts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from contract.clock import SystemClock
from contract.decode import Decoder
from contract.errors import UnavailableError
from contract.marker import Marker, NextOffsets
from contract.table import OFFSET, PARTITION, Lane
from flight_server.kafka_log import open_ends, open_log
from flight_server.tail.files import TailFiles
from flight_server.tail.follower import Follower
from flight_server.tail.keeper import Keeper, KeeperLimits, LogHealth
from flight_server.tail.pace import FollowerLimits
from flight_server.tail.runner import TailRunner
from flight_server.view import State, View, ViewPublisher
from tests.support.log_model import DEFINITION, Event
from tests.support.view_model import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

DEADLINE_S = 30.0
EAGER = KeeperLimits(ends_period_s=0.05, identity_period_s=0.1, identity_retry_s=0.1)
NOTHING = ModelSnapshot(None, None)


@dataclass
class Tail:
    """Follower and keeper of one server over a real topic, stepped by hand or by its threads."""

    bootstrap: str
    topic: str
    directory: Path

    def __post_init__(self) -> None:
        clock = SystemClock()
        definition = replace(DEFINITION, topic=self.topic)
        health = LogHealth()
        self.logs = [
            open_log(self.bootstrap, self.topic, "test"),
            open_ends(self.bootstrap, self.topic, "test-keeper"),
        ]
        self.publisher: ViewPublisher[ModelSnapshot] = ViewPublisher(clock, DEFINITION.rules_digest)
        self.files = TailFiles(self.directory, definition, "boot-1", 10**9)
        self.follower = Follower(
            definition,
            self.logs[0],
            Decoder(definition),
            self.publisher,
            self.files,
            lambda _lake, _starts: (),
            clock,
            health,
            FollowerLimits(retry_s=0.1, stalled_after_s=1.0),
        )
        self.keeper = Keeper(self.logs[1], self.publisher, self.files, clock, health, EAGER)
        self.runner = TailRunner("events", self.follower, self.keeper, self.publisher, self.files)

    def until(self, condition: Callable[[View[ModelSnapshot]], bool]) -> View[ModelSnapshot]:
        """Step until there is such a view."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.follower.step()
            self.keeper.step()
            try:
                view = self.publisher.current()
            except UnavailableError:
                continue
            if condition(view):
                return view
        raise AssertionError(f"no such view: {self.publisher.current()}")

    def until_unavailable(self, words: str) -> None:
        """Step until there is no view, for this reason."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.follower.step()
            self.keeper.step()
            try:
                self.publisher.current()
            except UnavailableError as error:
                if words in str(error):
                    return
        raise AssertionError(f"never unavailable because of {words!r}")

    def close(self) -> None:
        self.files.close()
        for log in self.logs:
            log.close()


@pytest.fixture
def follow(bootstrap: str, tmp_path: Path) -> Iterator[Callable[[str], Tail]]:
    """Opens the tail of a topic; all are closed at the end."""
    made: list[Tail] = []

    def start(topic: str) -> Tail:
        made.append(Tail(bootstrap, topic, tmp_path))
        return made[-1]

    yield start
    for tail in made:
        tail.close()


def produce(
    bootstrap: str, topic: str, ids: list[str], partition: int = 0, **settings: Any
) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    send(producer, topic, ids, partition)
    assert producer.flush(DEADLINE_S) == 0


def send(producer: Producer, topic: str, ids: list[str], partition: int = 0) -> None:
    for i, event_id in enumerate(ids):
        event = Event(event_id, Lane.MEDIUM, 1_000_000 + i)
        producer.produce(topic, event.value(), partition=partition)


def ids_of(view: View[ModelSnapshot]) -> list[str]:
    return [i for batch in view.tail for i in batch.column("id").to_pylist()]


def marker(tail: Tail, next_offsets: NextOffsets) -> ModelSnapshot:
    """A table that was fed up to these offsets."""
    made = Marker(
        topic=tail.topic,
        topic_id=tail.logs[1].topic_id(),
        epoch=1,
        commit_id="commit-1",
        next=next_offsets,
        remembered={},
        rows=0,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=0,
        rules_digest=DEFINITION.rules_digest,
    )
    return ModelSnapshot(1, made)


def test_aborted_transactions_and_their_markers_leave_no_row_and_no_lag(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic()
    tail = follow(topic)
    tail.publisher.on_lake(NOTHING, None)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(DEADLINE_S)
    for ids, finish in [
        (["a", "b"], producer.commit_transaction),
        (["c", "d", "e"], producer.abort_transaction),
        (["f"], producer.commit_transaction),
        (["g"], producer.abort_transaction),
    ]:
        producer.begin_transaction()
        send(producer, topic, ids)
        producer.flush(DEADLINE_S)
        finish(DEADLINE_S)

    # Seven messages and four control records.
    view = tail.until(lambda v: v.state is State.COMPLETE and v.cut.get(0) == (11, 11, 11))

    assert ids_of(view) == ["a", "b", "f"]
    assert view.lag_messages == 0


def test_messages_behind_an_open_transaction_are_lag(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic()
    tail = follow(topic)
    tail.publisher.on_lake(NOTHING, None)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(DEADLINE_S)
    producer.begin_transaction()
    send(producer, topic, ["open"])
    producer.flush(DEADLINE_S)
    produce(bootstrap, topic, ["behind"])

    held_back = tail.until(lambda v: v.lag_messages == 2)
    producer.abort_transaction(DEADLINE_S)
    view = tail.until(lambda v: v.state is State.COMPLETE and v.cut[0] == (3, 3, 3))

    assert (held_back.tail, held_back.cut) == ((), {0: (0, 0, 0)})
    assert held_back.state is State.LAGGING
    assert held_back.reason == "2 messages are in the log, and none was read since the start"
    assert ids_of(view) == ["behind"]


def test_partitions_that_are_added_are_followed_from_their_beginning(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic()
    tail = follow(topic)
    tail.publisher.on_lake(NOTHING, None)
    produce(bootstrap, topic, ["a"])
    tail.until(lambda v: ids_of(v) == ["a"])

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(DEADLINE_S)
    tail.until(lambda v: 1 in v.hi)
    produce(bootstrap, topic, ["b"], partition=1)

    view = tail.until(lambda v: len(ids_of(v)) == 2)
    assert view.cut == {0: (1, 1, 1), 1: (1, 1, 1)}


def test_a_topic_that_is_made_again_ends_all_views(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic()
    tail = follow(topic)
    produce(bootstrap, topic, ["a", "b"])
    tail.publisher.on_lake(marker(tail, {0: (1, 1, 1)}), None)
    tail.until(lambda v: ids_of(v) == ["b"])

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(DEADLINE_S)
    tail.until_unavailable("does not exist")
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(DEADLINE_S)

    tail.until_unavailable("was deleted and made again")


def test_messages_deleted_before_they_were_ingested_stall_the_view(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic()
    tail = follow(topic)
    produce(bootstrap, topic, list("abcdef"))
    admin = AdminClient({"bootstrap.servers": bootstrap})
    where = TopicPartition(topic, 0, 4)
    admin.delete_records([where])[where].result(DEADLINE_S)

    tail.publisher.on_lake(marker(tail, {0: (2, 2, 2)}), None)
    stalled = tail.until(lambda v: v.state is State.STALLED and "were deleted" in v.reason)
    tail.publisher.on_lake(marker(tail, {0: (4, 4, 4)}), None)

    view = tail.until(lambda v: v.state is State.COMPLETE)
    assert stalled.cut == {0: (2, 2, 2)}
    assert "offsets 2 to 4 of partition 0" in stalled.reason
    assert ids_of(view) == ["e", "f"]


def test_a_stopped_server_comes_back_with_its_files_and_reads_only_what_is_new(
    bootstrap: str, new_topic: TopicFactory, follow: Callable[[str], Tail]
) -> None:
    topic = new_topic(2)
    first = follow(topic)
    first.publisher.on_lake(NOTHING, None)
    first.runner.start()
    for partition in (0, 1):
        produce(bootstrap, topic, [f"{partition}-{i}" for i in range(500)], partition)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if len(ids_of(first.publisher.current())) == 1_000:
                break
        except UnavailableError:
            continue
    assert first.runner.stop(timeout_s=10)
    produce(bootstrap, topic, ["later"], 1)

    second = follow(topic)
    second.publisher.on_lake(NOTHING, None)
    second.follower.step()
    at_once = second.publisher.current()
    view = second.until(lambda v: "later" in ids_of(v))

    assert at_once.hi[0] == 500
    assert at_once.hi[1] >= 500
    assert len(ids_of(at_once)) >= 1_000
    found = sorted(
        (p, o)
        for b in view.tail
        for p, o in zip(b[PARTITION].to_pylist(), b[OFFSET].to_pylist(), strict=True)
    )
    assert found == [(0, o) for o in range(500)] + [(1, o) for o in range(501)]


def test_a_broker_without_an_answer_stalls_the_view_and_nothing_is_lost(
    new_topic: TopicFactory, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.support.broker import start_broker

    broker = start_broker(tmp_path_factory.mktemp("own-broker"))
    try:
        assert broker.create_topic("events", 1, None)
        produce(broker.bootstrap, "events", ["a"])
        tail = Tail(broker.bootstrap, "events", tmp_path)
        tail.publisher.on_lake(NOTHING, None)
        tail.until(lambda v: ids_of(v) == ["a"])

        broker.kill()
        stalled = tail.until(lambda v: v.state is State.STALLED)
        broker.start()
        produce(broker.bootstrap, "events", ["b"])
        view = tail.until(lambda v: v.state is State.COMPLETE and ids_of(v) == ["a", "b"])

        assert ids_of(stalled) == ["a"]
        assert view.cut == {0: (2, 2, 2)}
        tail.close()
    finally:
        broker.stop()
