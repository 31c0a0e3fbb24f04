"""One real broker for a whole test run, and a fresh topic for each test."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.clock import SystemClock
from ingest.broker import EmbeddedBroker

# The jars of the checkout's own data directory: resolved once, used by the demo as well.
JARS = Path(__file__).parents[2] / ".highwater" / "kafka" / "jars"

TopicFactory = Callable[..., str]
_numbers = itertools.count()


def start_broker(data_dir: Path, port: int = 0) -> EmbeddedBroker:
    """A started broker of its own, for tests that stop or kill it; the caller stops it."""
    broker = EmbeddedBroker(data_dir, SystemClock(), port, jars_dir=JARS, heap_mb=384)
    broker.start()
    return broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The run's broker. Tests that need it down start their own with `start_broker`."""
    started = start_broker(tmp_path_factory.mktemp("broker"))
    yield started
    started.stop()


@pytest.fixture
def bootstrap(broker: EmbeddedBroker) -> str:
    """Its address."""
    return broker.bootstrap


@pytest.fixture
def new_topic(broker: EmbeddedBroker, request: pytest.FixtureRequest) -> TopicFactory:
    """`new_topic(partitions=1, config=None)` creates an empty topic and returns its name."""

    def create(partitions: int = 1, config: dict[str, str] | None = None) -> str:
        stem = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
        name = f"{stem}-{os.getpid()}-{next(_numbers)}"
        assert broker.create_topic(name, partitions, config)
        return name

    return create
