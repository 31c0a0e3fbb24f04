"""The auditor's own view of the log: a plain consumer, from the first offset on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ingest.kafka.topics import SILENT

if TYPE_CHECKING:
    from confluent_kafka import Message

    from highwater.audit.judge import Knowledge
    from highwater.audit.ledger import Ledger

_CANNOT_GO_ON = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
_POLL_S = 0.05
_MESSAGES = 500


class LogReader:
    """Fills the model; one thread."""

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, knowledge: Knowledge, ledger: Ledger
    ) -> None:
        self._topic = topic
        self._partitions = range(partitions)
        self._knowledge = knowledge
        self._ledger = ledger
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "highwater-audit",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "reconnect.backoff.max.ms": 500,
            },
            logger=SILENT,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log reader", daemon=True)

    def start(self) -> None:
        """Read from the beginning."""
        self._consumer.assign([TopicPartition(self._topic, p, 0) for p in self._partitions])
        self._thread.start()

    def stop(self) -> None:
        """End, and let the consumer go; a second time does nothing."""
        if not self._stopping.is_set():
            self._stopping.set()
            if self._thread.ident is not None:
                self._thread.join()
            self._consumer.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = self._consumer.consume(_MESSAGES, _POLL_S)
            if not messages:
                continue
            with self._knowledge.lock:
                for message in messages:
                    self._take(message)

    def _take(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if (error := message.error()) is not None or partition is None or offset is None:
            self._note(error)
            return
        log = self._knowledge.log
        if (known := log.positions.get(partition, 0)) != offset:
            words = f"the log of partition {partition} went from {known} to {offset}"
            self._ledger.found("errors", words)
        log.add(partition, offset, message.timestamp()[1] * 1000, message.value())

    def _note(self, error: KafkaError | None) -> None:
        if error is not None and error.code() in _CANNOT_GO_ON:
            self._ledger.found("errors", f"the log cannot be read on: {error.str()}")
