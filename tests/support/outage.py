"""A feed that never stops pushing, and ways to take broker and catalog away from a stack."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Producer

from tests.support.made_trades import made_trades

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.broker import EmbeddedBroker

_TICK_S = 0.05
_QUEUE_MESSAGES = 500_000
_FLUSH_S = 300.0


class Feed:
    """Pushes trades at a rate into the producer's own queue, whoever is away behind it.

    When that queue is full it waits; what it has pushed is delivered once and in order.
    """

    def __init__(self, bootstrap: str, topic: str, rate: int) -> None:
        self._topic = topic
        self._per_tick = max(1, int(rate * _TICK_S))
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,
                "queue.buffering.max.messages": _QUEUE_MESSAGES,
                "log_level": 0,
            }
        )
        self.pushed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> int:
        """Stop, have everything delivered; how many there are."""
        self._stop.set()
        self._thread.join(_FLUSH_S)
        assert self._producer.flush(_FLUSH_S) == 0
        return self.pushed

    def _run(self) -> None:
        for tick in self._ticks():
            room = _QUEUE_MESSAGES - len(self._producer) - self._per_tick
            if room > 0:
                for value in made_trades(self.pushed, self._per_tick):
                    self._producer.produce(self._topic, value, partition=tick % 2)
                self.pushed += self._per_tick
            self._producer.poll(0)

    def _ticks(self) -> Iterator[int]:
        due_s = time.monotonic()
        for tick in itertools.count():
            due_s += _TICK_S
            if self._stop.wait(max(0.0, due_s - time.monotonic())):
                return
            yield tick


class Outage(Protocol):
    """Something that is away from `begin` to `end`, in another way from `turn` on."""

    def begin(self) -> None: ...

    def turn(self) -> None: ...

    def end(self) -> None: ...


class BrokerOutage:
    """First it hangs with all connections open, then it is killed; at the end it is started."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    def begin(self) -> None:
        assert self._broker._process is not None
        self._broker._process.send_signal(signal.SIGSTOP)

    def turn(self) -> None:
        self._broker.kill()

    def end(self) -> None:
        self._broker.start(timeout_s=120.0)


class CatalogOutage:
    """First its database is locked by somebody, then the directory that it lies in is gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._away = directory.with_name("catalog-away")

    def begin(self) -> None:
        self._lock = sqlite3.connect(self._directory / "catalog.db", timeout=30.0)
        self._lock.execute("BEGIN EXCLUSIVE")

    def turn(self) -> None:
        self._directory.rename(self._away)
        self._lock.rollback()
        self._lock.close()

    def end(self) -> None:
        self._away.rename(self._directory)
