"""Adapter of confluent_kafka's Producer: bounded, idempotent, and honest about what got lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from contract.errors import OperatorError, UnavailableError
from ingest.kafka.topics import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError
    from confluent_kafka import Message as KafkaMessage

    from ingest.feeds.message import Message

_CONNECT_TIMEOUT_S = 10.0
_FULL_WAIT_S = 0.1
_RECONNECT_MS = (
    1_000  # the client's own limit is 10 s: a feed would rest long after its broker came
)


class KafkaSender:
    """Sends messages to one topic, keyed; counts what was handed over and what failed.

    At most `queue_messages_max` messages or `queue_kbytes_max` wait in memory; beyond, `send`
    waits until the broker took some. A message that isn't taken within `timeout_s` has failed.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        queue_messages_max: int = 200_000,
        queue_kbytes_max: int = 256 * 1024,
        linger_ms: float = 5.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._topic = topic
        self.sent = 0
        self.failed = 0
        self.last_error = ""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": linger_ms,
                "reconnect.backoff.max.ms": _RECONNECT_MS,
                "batch.size": 1_000_000,
                "message.max.bytes": 16_000_000,
                "queue.buffering.max.messages": queue_messages_max,
                "queue.buffering.max.kbytes": queue_kbytes_max,
                "message.timeout.ms": int(timeout_s * 1000),
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
                "logger": SILENT,
            }
        )

    def require_topic(self, timeout_s: float = _CONNECT_TIMEOUT_S) -> None:
        """Raise OperatorError without the topic, UnavailableError if no broker answers."""
        try:
            known = self._producer.list_topics(self._topic, timeout=timeout_s).topics
        except KafkaException as error:
            raise UnavailableError(f"Kafka does not answer: {error.args[0].str()}") from error
        if known[self._topic].error is not None:
            raise OperatorError(
                f"there is no topic {self._topic}: create it, for instance with"
                f" `highwater broker --create-topic {self._topic}:4`"
            )

    def send(self, messages: Sequence[Message], stopping: Callable[[], bool]) -> int:
        """Hand over messages in order; the count handed over, smaller only when `stopping`."""
        produce, topic = self._producer.produce, self._topic
        done = 0
        for key, value in messages:
            while True:
                try:
                    produce(topic, value, key)
                    break
                except BufferError:
                    if stopping():
                        self.sent += done
                        return done
                    self._producer.poll(_FULL_WAIT_S)
            done += 1
        self.sent += done
        self._producer.poll(0)
        return done

    def queued(self) -> int:
        """Messages that no broker has acknowledged yet."""
        return len(self._producer)

    def close(self, timeout_s: float) -> int:
        """Wait at most `timeout_s` for the rest; the messages that were never delivered."""
        left = self._producer.flush(timeout_s)
        if left:
            self._producer.purge()
            self._producer.flush(1.0)  # serves the purged messages' reports: they count as failed
        return self.failed

    def _on_failure(self, error: KafkaError | None, _message: KafkaMessage) -> None:
        if error is not None:
            self.failed += 1
            self.last_error = error.str()
