"""Feeds into a real broker, by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from contract.clock import SystemClock
from contract.errors import OperatorError, RequestError, UnavailableError
from ingest.feeds.command import SAMPLE, run
from ingest.feeds.producer import KafkaSender
from ingest.feeds.replay import read_lines
from ingest.kafka.ports import free_port
from tests.support.broker import TopicFactory, start_broker
from tests.support.failpoints import HandClock

if TYPE_CHECKING:
    from pathlib import Path


def messages_of(bootstrap: str, topic: str, partitions: int) -> list[Message]:
    """All messages of a topic, in log order within a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        parts = [TopicPartition(topic, number, 0) for number in range(partitions)]
        wanted = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
        consumer.assign(parts)
        found: list[Message] = []
        until_s = time.monotonic() + 30
        while len(found) < wanted and time.monotonic() < until_s:
            found += consumer.consume(10_000, timeout=0.2)
    finally:
        consumer.close()
    assert len(found) == wanted
    return found


def feed(bootstrap: str, topic: str, kind: str, *argv: str) -> int:
    return run([kind, "--kafka", bootstrap, "--topic", topic, *argv], {})


def test_the_sample_arrives_whole_and_keyed_by_symbol(
    bootstrap: str, new_topic: TopicFactory
) -> None:
    topic = new_topic(partitions=2)

    assert feed(bootstrap, topic, "replay", "--rate", "0") == 0

    found = messages_of(bootstrap, topic, 2)
    assert sorted(message.value() or b"" for message in found) == sorted(read_lines(SAMPLE))
    assert {json.loads(m.value() or b"")["symbol"].encode() == m.key() for m in found} == {True}


def test_a_synthetic_feed_stops_at_its_count_in_the_order_of_its_numbers(
    bootstrap: str, new_topic: TopicFactory
) -> None:
    topic = new_topic()

    assert feed(bootstrap, topic, "synthetic", "--rate", "0", "--count", "5000") == 0

    numbers = [
        json.loads(m.value() or b"")["source_sequence"] for m in messages_of(bootstrap, topic, 1)
    ]
    assert numbers == list(range(5_000))


def test_a_missing_topic_and_an_absent_broker_are_named(bootstrap: str) -> None:
    with pytest.raises(OperatorError, match=r"no topic nowhere.*--create-topic nowhere:4"):
        feed(bootstrap, "nowhere", "replay")
    with pytest.raises(RequestError, match="the feeds are live, replay, synthetic"):
        feed(bootstrap, "nowhere", "reply")
    with pytest.raises(UnavailableError, match="Kafka does not answer"):
        KafkaSender(f"127.0.0.1:{free_port()}", "t", SystemClock()).require_topic(timeout_s=0.5)


def test_a_full_queue_waits_for_the_broker_and_a_stop_ends_the_wait(tmp_path: Path) -> None:
    broker = start_broker(tmp_path)
    try:
        broker.create_topic("t", 1)
        sender = KafkaSender(
            broker.bootstrap, "t", SystemClock(), queue_messages_max=10, timeout_s=30
        )
        sender.require_topic()
        assert sender.send([(b"k", b"v")] * 100, lambda: False) == 100
        broker.kill()

        handed_over = sender.send([(b"k", b"v")] * 100, lambda: True)

        assert handed_over <= 10
        assert sender.close(0.2) == sender.failed == handed_over + 100 - delivered(sender)
        assert sender.last_error
    finally:
        broker.stop()


def delivered(sender: KafkaSender) -> int:
    return sender.sent - sender.failed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_feed_with_everything_delivered(
    number: signal.Signals, bootstrap: str, new_topic: TopicFactory
) -> None:
    topic = new_topic()
    argv = ["feed", "synthetic", "--kafka", bootstrap, "--topic", topic, "--progress-s", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "highwater", *argv],
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("HIGHWATER_")},
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(number)
    rest = process.communicate(timeout=20)[1]

    assert process.returncode == 0, rest
    assert "sent" in first
    last = rest.splitlines()[-1]
    assert last == f"feed: done: {len(messages_of(bootstrap, topic, 1)):,} delivered"


def test_messages_of_a_producer_that_went_deaf_are_sent_by_another(
    bootstrap: str, new_topic: TopicFactory
) -> None:
    topic, clock = new_topic(partitions=1), HandClock()
    sender = KafkaSender(f"127.0.0.1:{free_port()}", topic, clock)  # as good as deaf
    sent = [(b"k", b"%d" % n) for n in range(100)]
    assert sender.send(sent[:50], lambda: False) == 50
    assert sender.send(sent[50:99], lambda: False) == 49

    clock.sleep(11.0)
    sender._bootstrap = sender._settings["bootstrap.servers"] = bootstrap
    assert sender.send(sent[99:], lambda: False) == 1
    clock.sleep(11.0)
    assert sender.send([], lambda: False) == 0

    assert sender.close(30.0) == 0
    assert [m.value() for m in messages_of(bootstrap, topic, 1)] == [v for _, v in sent]
