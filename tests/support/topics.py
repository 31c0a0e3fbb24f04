"""One topic, in memory or on a real broker, for the suite that both kinds of readers pass."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from highwater.simulate.log import Log, Message, ScriptedLog
from ingest.kafka_log import open_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.ports import IngestLog

DEADLINE_S = 30.0
_numbers = itertools.count()

Value = tuple[bytes | None, bytes | None, int]  # key, value, timestamp in milliseconds


class Topic(Protocol):
    """What a test may do to a topic."""

    def produce(self, values: Sequence[Value], partition: int = 0) -> None:
        """Messages without a transaction."""
        ...

    def transact(self, values: Sequence[Value], *, commit: bool, partition: int = 0) -> None:
        """Messages in a transaction of their own, whose end takes one more offset."""
        ...

    def delete_before(self, offset: int, partition: int = 0) -> None:
        """Retention."""
        ...

    def add_partition(self) -> None:
        """One more."""
        ...

    def delete(self) -> None:
        """The topic is gone."""
        ...

    def recreate(self) -> None:
        """Deleted and made again, empty."""
        ...

    def reader(self) -> IngestLog:
        """A reader that is closed by whoever closes the topic."""
        ...

    def close(self) -> None:
        """Close the readers."""
        ...


class MemoryTopic:
    """`Topic` over a `Log`."""

    def __init__(self, partitions: int) -> None:
        self._log = Log("memory", "topic-1", {p: [] for p in range(partitions)})

    def produce(self, values: Sequence[Value], partition: int = 0) -> None:
        self._log.append(partition, *(Message(v, at_ms * 1000, k) for k, v, at_ms in values))

    def transact(self, values: Sequence[Value], *, commit: bool, partition: int = 0) -> None:
        if commit:
            self.produce(values, partition)
        else:
            self._log.append(partition, *[None] * len(values))
        self._log.append(partition, None)

    def delete_before(self, offset: int, partition: int = 0) -> None:
        self._log.delete_before(partition, offset)

    def add_partition(self) -> None:
        self._log.append(len(self._log.partitions))

    def delete(self) -> None:
        self._log.partitions.clear()

    def recreate(self) -> None:
        self._log.recreate()

    def reader(self) -> IngestLog:
        return ScriptedLog(self._log)

    def close(self) -> None:
        """Nothing to close."""


class KafkaTopic:
    """`Topic` on a broker."""

    def __init__(self, bootstrap: str, name: str, partitions: int) -> None:
        self._bootstrap = bootstrap
        self._name = name
        self._partitions = partitions
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._readers: list[IngestLog] = []

    def produce(self, values: Sequence[Value], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap})
        self._send(producer, values, partition)
        assert producer.flush(DEADLINE_S) == 0

    def transact(self, values: Sequence[Value], *, commit: bool, partition: int = 0) -> None:
        name = f"{self._name}-{next(_numbers)}"
        producer = Producer({"bootstrap.servers": self._bootstrap, "transactional.id": name})
        producer.init_transactions(DEADLINE_S)
        producer.begin_transaction()
        self._send(producer, values, partition)
        assert producer.flush(DEADLINE_S) == 0
        if commit:
            producer.commit_transaction(DEADLINE_S)
        else:
            producer.abort_transaction(DEADLINE_S)

    def delete_before(self, offset: int, partition: int = 0) -> None:
        where = TopicPartition(self._name, partition, offset)
        self._admin.delete_records([where])[where].result(DEADLINE_S)

    def add_partition(self) -> None:
        self._partitions += 1
        wanted = NewPartitions(self._name, self._partitions)
        self._admin.create_partitions([wanted])[self._name].result(DEADLINE_S)

    def delete(self) -> None:
        self._admin.delete_topics([self._name])[self._name].result(DEADLINE_S)

    def recreate(self) -> None:
        self.delete()

        def made() -> bool:
            wanted = NewTopic(self._name, self._partitions, 1)
            try:
                self._admin.create_topics([wanted])[self._name].result(DEADLINE_S)
            except KafkaException:  # it is still being deleted
                return False
            return True

        wait_until(made)

    def reader(self) -> IngestLog:
        log, _ = open_log(self._bootstrap, self._name, f"{self._name}-{next(_numbers)}")
        self._readers.append(log)
        return log

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def _send(self, producer: Producer, values: Sequence[Value], partition: int) -> None:
        for key, value, at_ms in values:
            producer.produce(self._name, value, key, partition, timestamp=at_ms)


def wait_until(holds: Callable[[], Any]) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
