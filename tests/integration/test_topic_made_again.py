"""A topic that is deleted and made again while it is read, longer than before: the real broker.

The client goes on at the old position without an error, so nothing but the topic's id tells the
new messages from the old ones. The periodic looks at it are switched off here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from contract.log import Fetched, LogSource, Trouble
from flight_server import kafka_log as server_log
from ingest import kafka_log as sidecar_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.broker import TopicFactory

DEADLINE_S = 30.0


def open_server_log(bootstrap: str, topic: str) -> LogSource:
    return server_log.open_log(bootstrap, topic, "test-server")


def open_sidecar_log(bootstrap: str, topic: str) -> LogSource:
    return sidecar_log.open_log(bootstrap, topic, "test-sidecar")[0]


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(DEADLINE_S) == 0


def make_again(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(DEADLINE_S)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(DEADLINE_S)
        except KafkaException:  # it is still being deleted
            continue
        return
    raise AssertionError("the topic could not be made again")


def poll_until(log: LogSource, wanted: Callable[[list[Fetched]], Any]) -> list[Fetched]:
    fetched: list[Fetched] = []
    end = time.monotonic() + DEADLINE_S
    while not wanted(fetched):
        assert time.monotonic() < end, fetched
        fetched.append(log.poll(100, 0.05))
    return fetched


def values_of(fetched: list[Fetched]) -> list[bytes | None]:
    return [value for one in fetched for value in one.messages.values]


@pytest.mark.parametrize("open_log", [open_server_log, open_sidecar_log])
def test_a_reader_gives_no_message_of_the_new_topic(
    open_log: Callable[[str, str], LogSource], bootstrap: str, new_topic: TopicFactory
) -> None:
    topic = new_topic()
    produce(bootstrap, topic, [b"old"] * 10)
    log = open_log(bootstrap, topic)
    old_id = log.topic_id()
    log.assign({0: 0}, old_id)
    poll_until(log, lambda fetched: len(values_of(fetched)) == 10)

    make_again(bootstrap, topic)
    produce(bootstrap, topic, [b"new"] * 30)
    fetched = poll_until(log, lambda fetched: sum(bool(one.problems) for one in fetched) == 5)

    assert values_of(fetched) == []
    # The old topic's end may be told once more; no position moves.
    assert all(position == 10 for one in fetched for position in one.positions.values())
    assert fetched[-1].problems[0].trouble is Trouble.REPLACED
    assert old_id in fetched[-1].problems[0].text

    new_id = log.topic_id()
    log.assign({0: 10}, new_id)
    assert values_of(poll_until(log, lambda f: len(values_of(f)) >= 20)) == [b"new"] * 20
    assert new_id != old_id
    log.close()
