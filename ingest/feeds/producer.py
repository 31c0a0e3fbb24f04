"""Adapter of confluent_kafka's Producer: bounded, idempotent, and honest about what got lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from contract.errors import OperatorError, UnavailableError
from ingest.kafka.topics import SILENT, answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError
    from confluent_kafka import Message as KafkaMessage

    from contract.clock import Clock
    from ingest.feeds.message import Message

_CONNECT_TIMEOUT_S = 10.0
_SILENCE_S = 10.0
_PURGED = {-152, -151}  # _PURGE_QUEUE, _PURGE_INFLIGHT
_FULL_WAIT_S = 0.1
_RECONNECT_MS = (
    1_000  # the client's own limit is 10 s: a feed would rest long after its broker came
)


class KafkaSender:
    """Sends messages to one topic, keyed; counts what was handed over and what failed.

    At most `queue_messages_max` messages or `queue_kbytes_max` wait in memory; beyond, `send`
    waits until the broker took some. A message that isn't taken within `timeout_s` has failed.

    A client that hears of a cluster without brokers forgets them and never connects again
    (librdkafka's issue 5301). So where nothing was taken for ten seconds although the broker
    answers another client, a new producer gets the messages: some may arrive twice.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        clock: Clock,
        *,
        queue_messages_max: int = 200_000,
        queue_kbytes_max: int = 256 * 1024,
        linger_ms: float = 5.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._clock = clock
        self._moving = False
        self._rescued: list[KafkaMessage] = []
        self._progress = 0, clock.monotonic_s()  # messages that left the producer, and since when
        self.sent = 0
        self.failed = 0
        self.last_error = ""
        self._settings = {
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
        self._producer = Producer(self._settings)

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
                    self._leave_deaf_producer(done)
                    produce = self._producer.produce
            done += 1
        self.sent += done
        self._producer.poll(0)
        self._leave_deaf_producer(0)
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

    def _leave_deaf_producer(self, handed_over: int) -> None:
        """Look for progress; `handed_over`: messages that `sent` does not count yet."""
        queued, now_s = len(self._producer), self._clock.monotonic_s()
        taken = self.sent + handed_over - queued
        if taken != self._progress[0] or not queued:
            self._progress = taken, now_s
        elif now_s - self._progress[1] > _SILENCE_S:
            self._progress = taken, now_s
            if answers(self._bootstrap):
                self._move()

    def _move(self) -> None:
        """Hand the messages that wait in the producer over to a new one."""
        self._moving = True
        self._producer.purge()
        self._producer.flush(1.0)  # serves the reports of what was purged
        self._moving = False
        self._producer = Producer(self._settings)
        moved, self._rescued = self._rescued, []
        for message in moved:
            self._producer.produce(self._topic, message.value(), message.key())

    def _on_failure(self, error: KafkaError | None, message: KafkaMessage) -> None:
        if error is not None and self._moving and error.code() in _PURGED:
            self._rescued.append(message)
        elif error is not None:
            self.failed += 1
            self.last_error = error.str()
