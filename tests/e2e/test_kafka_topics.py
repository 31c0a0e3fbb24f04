"""Kafka as it really is: topics made again, retention, dying brokers, both processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.broker import start_broker
from tests.support.live_tables import LiveTables, event, ids, places
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ingest.broker import EmbeddedBroker

DEADLINE_S = 30.0


@pytest.fixture
def follow(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Callable[[str], LiveTables]]:
    """Makes a topic and starts both processes on it; they stand at its beginning, claimed."""
    made: list[LiveTables] = []

    def start(topic: str) -> LiveTables:
        assert broker.create_topic(topic, 1)
        live = LiveTables(tmp_path, broker.bootstrap, [topic])
        made.append(live)
        live.start_ingest()
        live.start_serve()
        live.see_at(topic, {0: 0})
        return live

    yield start
    for live in made:
        live.stop()


def events(name: str, count: int) -> list[bytes | None]:
    return [event(f"{name}-{i}") for i in range(count)]


def make_again(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(DEADLINE_S)

    def created() -> bool:
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(DEADLINE_S)
        except KafkaException:  # it is still being deleted
            return False
        return True

    wait_until(created, lambda: "the topic could not be made again")


def unavailable(live: LiveTables, topic: str) -> str:
    """The words of the refusal; empty while there is an answer."""
    try:
        live.stack.ask(f"SELECT count(*) FROM {topic}")
    except Exception as error:  # noqa: BLE001 - whatever the driver raises
        return str(error)
    return ""


def test_no_row_of_a_topic_made_again_gets_into_an_answer_or_the_lake(
    follow: Callable[[str], LiveTables], bootstrap: str
) -> None:
    """The new topic is longer than the old one, so no position is out of its range."""
    topic = "again"
    live = follow(topic)
    live.stack.produce(events("old", 50))
    live.see_at(topic, {0: 50}, "lake")
    old_id = live.see_at(topic, {0: 50}).table["topic_id"]

    make_again(bootstrap, topic)
    live.stack.produce(events("new", 200))
    seen: list[Any] = []

    def ended() -> bool:
        found = live.see(topic)
        seen.extend([found] if found is not None else [])
        return "was deleted and made again" in unavailable(live, topic)

    wait_until(ended, live.stack.logs)

    assert live.stack.exit_code("ingest") == 2
    assert "topic 'again' " in live.stack.log("ingest")  # ... does not exist, or was made again
    assert {s.table["topic_id"] for s in seen} <= {old_id}
    assert {i for s in seen for i in ids(s.rows)} <= {f"old-{i}" for i in range(50)}
    last = live.markers(topic)[-1]
    assert (last["topic_id"], last["next"]) == (old_id, {"0": [50, 50, 50]})

    live.start_ingest()
    assert live.stack.exit_code("ingest") == 2
    assert "ingest it into a new table" in live.stack.log("ingest")


def test_what_retention_deletes_before_the_first_commit_stops_ingestion_until_it_is_accepted(
    follow: Callable[[str], LiveTables], bootstrap: str
) -> None:
    topic = "retained"
    live = follow(topic)
    live.hold()
    live.stack.produce(events("m", 10))
    live.see_at(topic, {0: 10})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    where = TopicPartition(topic, 0, 6)
    admin.delete_records([where])[where].result(DEADLINE_S)
    live.release()

    assert live.stack.exit_code("ingest") == 2
    words = "offsets 0 to 5 were deleted by Kafka's retention before they were ingested"
    assert words in live.stack.log("ingest")
    assert "--accept-gaps" in live.stack.log("ingest")
    still_there = live.see_at(topic, {0: 10})
    assert ids(still_there.rows) == [f"m-{i}" for i in range(10)]
    assert live.gaps(topic) == []

    live.start_ingest("--accept-gaps")
    seen = live.see_at(topic, {0: 10}, "lake")

    reason = "deleted by retention before it was ingested"
    gap = {"partition": 0, "from_offset": 0, "to_offset": 6, "reason": reason}
    assert live.gaps(topic) == [gap]
    assert places(seen.rows) == [(0, o) for o in range(6, 10)]
    live.stack.kill("serve")
    live.start_serve()
    assert live.see_at(topic, {0: 10}).rows == seen.rows


def test_a_server_whose_sidecar_has_not_claimed_the_table_says_so(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    assert broker.create_topic("unclaimed", 1)
    live = LiveTables(tmp_path, broker.bootstrap, ["unclaimed"])
    try:
        live.start_serve()
        wait_until(
            lambda: "start the ingest" in unavailable(live, "unclaimed"),
            lambda: unavailable(live, "unclaimed"),
        )
    finally:
        live.stop()


def test_a_broker_that_is_restarted_and_killed_costs_no_row(tmp_path: Path) -> None:
    broker = start_broker(tmp_path / "broker")
    assert broker.create_topic("steady", 1)
    live = LiveTables(tmp_path, broker.bootstrap, ["steady"])
    ends: dict[str, Callable[[], None]] = {"stopped": broker.stop, "killed": broker.kill}
    try:
        live.start_ingest()
        live.start_serve()
        live.stack.produce(events("first", 20))
        live.see_at("steady", {0: 20}, "lake")
        for i, (name, end) in enumerate(ends.items()):
            live.stack.produce(events(f"before-{name}", 20))
            end()
            broker.start()
            live.stack.produce(events(f"after-{name}", 20))
            seen = live.see_at("steady", {0: 60 + 40 * i}, "lake")
            assert places(seen.rows) == [(0, o) for o in range(60 + 40 * i)]
        live.wait_complete("steady")
    finally:
        live.stop()
        broker.stop()
