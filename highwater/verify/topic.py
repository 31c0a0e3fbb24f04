"""The topic as a plain consumer sees it: read committed, assigned by hand, from given offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from contract.errors import OperatorError, UnavailableError
from contract.log import RawBatch
from contract.table import TIMESTAMP_RANGE_US
from highwater.verify.facts import LogFacts

if TYPE_CHECKING:
    from contract.clock import Clock

_POLL_MESSAGES = 10_000
_POLL_S = 0.02  # what is asked for and not there, because of holes, costs as much as this
_NEWEST_MS = TIMESTAMP_RANGE_US[1] // 1000
_GONE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - a public constant of librdkafka
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
_OUT_OF_RANGE = {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}  # noqa: SLF001


class TopicReader:
    """Reads one topic, one partition at a time. No call waits longer than `timeout_s`."""

    def __init__(self, bootstrap: str, topic: str, timeout_s: float, clock: Clock) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._clock = clock
        base: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "reconnect.backoff.max.ms": 1_000,
        }
        self._admin = AdminClient(base)
        self._consumer = Consumer(
            {
                **base,
                "group.id": "highwater-verify",  # the library wants one; nothing is committed to it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 16 * 1024,
                "fetch.queue.backoff.ms": 5,
                # A new assignment waits behind the fetch under way, which the end keeps waiting.
                "fetch.wait.max.ms": 5,
            }
        )
        self._partition = -1
        self._handed_out = -1  # the end of the last range
        self._reached = 0  # everything below was delivered
        self._pending: list[Message] = []  # delivered and not handed out

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def facts(self) -> LogFacts:
        """Id, bounds and policy of the topic, now.

        Raises:
            OperatorError: there is no such topic. UnavailableError: the broker does not answer.
        """
        try:
            wanted = TopicCollection([self._topic])
            futures = self._admin.describe_topics(wanted, request_timeout=self._timeout_s)
            described: Any = futures[self._topic].result(self._timeout_s)
            bounds = {p.id: self._bounds(p.id) for p in described.partitions}
        except (KafkaException, TimeoutError) as error:
            raise self._words(error) from error
        return LogFacts(self._topic, str(described.topic_id), bounds, self._is_compacted())

    def messages(self, partition: int, start: int, end: int) -> tuple[int, RawBatch]:
        """All messages of [start, end) that are delivered, and from where on the log has them.

        That is `start`, unless retention has moved on meanwhile.
        """
        if (partition, start) != (self._partition, self._handed_out):
            self._assign(partition, start)
        deadline_s = self._clock.monotonic_s() + self._timeout_s
        while self._reached < end:
            wanted = min(_POLL_MESSAGES, end - self._reached)
            got = self._consumer.consume(wanted, _POLL_S)
            before = self._reached
            if sum(map(self._take, got)):  # every message is taken
                return self._after_retention(partition, start, end)
            now_s = self._clock.monotonic_s()
            if self._reached > before:
                deadline_s = now_s + self._timeout_s
            elif now_s > deadline_s:
                raise UnavailableError(
                    f"topic {self._topic!r} partition {partition}: nothing came from offset "
                    f"{self._reached} on for {self._timeout_s:g} s; try again when the broker is up"
                )
        taken = [m for m in self._pending if _offset(m) < end]
        self._pending = self._pending[len(taken) :]
        self._handed_out = end
        return start, _columns(partition, taken)

    def _assign(self, partition: int, start: int) -> None:
        self._consumer.assign([TopicPartition(self._topic, partition, start)])
        self._partition, self._reached, self._handed_out = partition, start, start
        self._pending = []

    def _take(self, message: Message) -> bool:
        """Keep a message or note an end; True if the position is out of the log's range."""
        error = message.error()
        if message.partition() not in {self._partition, None}:
            return False
        if error is None:
            if _offset(message) >= self._reached:
                self._pending.append(message)
                self._reached = _offset(message) + 1
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._reached = max(self._reached, _offset(message))
        elif error.code() in _GONE:
            raise self._words(KafkaException(error))
        return error is not None and error.code() in _OUT_OF_RANGE

    def _after_retention(self, partition: int, start: int, end: int) -> tuple[int, RawBatch]:
        low, high = self._bounds(partition)
        self._partition = -1
        if low <= start or self._reached > high:
            raise OperatorError(
                f"topic {self._topic!r} partition {partition} does not give offset {start}, which "
                "is inside its bounds: the log was truncated while it was read; run it again"
            )
        if low >= end:
            return end, RawBatch()
        return self.messages(partition, low, end)

    def _bounds(self, partition: int) -> tuple[int, int]:
        where = TopicPartition(self._topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(where, timeout=self._timeout_s)
        except (KafkaException, TypeError) as error:  # TypeError: None, nobody has answered
            raise self._words(error) from error
        return int(low), int(high)

    def _is_compacted(self) -> bool:
        """Whether the log may have lost single messages; True if nobody can say."""
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        try:
            futures = self._admin.describe_configs([resource], request_timeout=self._timeout_s)
            found: Any = futures[resource].result(self._timeout_s)
        except (KafkaException, TimeoutError):
            return True
        return "compact" in str(found["cleanup.policy"].value)

    def _words(self, error: Exception) -> OperatorError | UnavailableError:
        first = error.args[0] if error.args else None
        if isinstance(first, KafkaError) and first.code() in _GONE:
            return OperatorError(
                f"topic {self._topic!r} does not exist, or may not be read: correct the table "
                "definition, or name another broker with --kafka"
            )
        text = first.str() if isinstance(first, KafkaError) else type(error).__name__
        return UnavailableError(f"the broker does not answer (--kafka): {text}")


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset


def _columns(partition: int, messages: list[Message]) -> RawBatch:
    """A message without a timestamp counts as of 1970, and none is beyond what clients can hold."""
    return RawBatch(
        [partition] * len(messages),
        [_offset(m) for m in messages],
        [min(max(m.timestamp()[1], 0), _NEWEST_MS) * 1000 for m in messages],
        [_bytes(m.key()) for m in messages],
        [_bytes(m.value()) for m in messages],
    )


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
