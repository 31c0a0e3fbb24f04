"""Broker and catalog away for a minute (`--outage-s`) while messages keep coming at full rate.

Two stacks at the same time, one without its broker and one without its catalog: queries go on and
are exact, memory stays flat, the processes say what is away, and everything catches up.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.broker import start_broker
from tests.support.limits import anonymous_bytes
from tests.support.outage import BrokerOutage, CatalogOutage, Feed
from tests.support.proof import counts, wait_for_cut, wait_for_no_code
from tests.support.stack import Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.broker import EmbeddedBroker
    from tests.support.outage import Outage

pytestmark = pytest.mark.timeout(3_600)

_LOG = logging.getLogger(__name__)
MIB = 1024 * 1024
ASK_EVERY_S = 0.5
CATCH_UP_S = 600.0
MEMORY_BYTES_MAX = 200 * MIB  # what a process may grow by from the middle of an outage to its end
QUICK = """
SELECT count(*) AS n,
       (SELECT sum(cut_offset) FROM system.cut WHERE lane = 'LOW') AS cut,
       (SELECT count(*) FROM trades_history) AS lake
FROM trades
"""


@dataclass
class Seen:
    """What was observed during an outage, in order."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    codes: dict[str, list[set[str]]] = field(default_factory=lambda: {"ingest": [], "serve": []})
    ready: dict[str, list[bool]] = field(default_factory=lambda: {"ingest": [], "serve": []})
    memory: dict[str, list[int]] = field(default_factory=lambda: {"ingest": [], "serve": []})

    def grown(self, name: str) -> int:
        """By how many bytes a process grew in the second half at most."""
        sizes = self.memory[name]
        return max(sizes[len(sizes) // 2 :]) - sizes[len(sizes) // 2]

    def late(self, values: list[Any]) -> list[Any]:
        """The last fifth: whatever takes a while to be noticed was noticed."""
        return values[len(values) * 4 // 5 :]


@dataclass
class Scenario:
    """A stack with a feed, whose broker or catalog goes away."""

    stack: Stack
    feed: Feed
    outage: Outage
    outage_s: float
    flags: tuple[str, ...]

    def start(self) -> None:
        stack = self.stack
        fast = ("--flush-interval-s=1", "--topic-check-s=1")
        stack.start("ingest", *fast, *self.flags, stack.watched("ingest"))
        stack.start("serve", *(f for f in self.flags if "catalog" in f), stack.watched("serve"))
        self.feed.start()
        wait_until(
            lambda: (stack.try_ask(QUICK) or [{"lake": 0}])[0]["lake"],
            lambda: f"nothing was committed: {stack.logs()}",
        )

    def run(self) -> Seen:
        """Through the outage and until everything has caught up."""
        self.start()
        seen = Seen()
        self.outage.begin()
        self._watch(seen, self.outage_s / 2)
        self.outage.turn()
        self._watch(seen, self.outage_s / 2)
        self.outage.end()
        total = self.feed.finish()
        wait_until(
            lambda: self._look()[0]["lake"] == total,
            lambda: f"it does not catch up to {total}: {self._look()}; {self.stack.logs()}",
            CATCH_UP_S,
        )
        assert wait_for_cut(self.stack, total)["n"] == total
        wait_for_no_code(self.stack, "ingest", "serve")
        return seen

    def _watch(self, seen: Seen, duration_s: float) -> None:
        until_s = time.monotonic() + duration_s
        while time.monotonic() < until_s:
            for name in ("ingest", "serve"):
                status = self.stack.status(name)
                seen.codes[name].append(status["codes"])
                seen.ready[name].append(status["ready"])
                seen.memory[name].append(anonymous_bytes(self.stack.pid(name)))
            row, receipt = self._look()
            seen.rows.append(row)
            seen.states.append(receipt["state"])
            time.sleep(ASK_EVERY_S)
        counts(self.stack)

    def _look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, receipt = self.stack.answer(QUICK)
        assert rows[0]["n"] == rows[0]["cut"], rows
        return rows[0], receipt


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    broker = start_broker(tmp_path_factory.mktemp("outage-broker"))
    yield broker
    broker.kill()


@pytest.fixture
def scenarios(
    own_broker: EmbeddedBroker,
    broker: EmbeddedBroker,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[tuple[Scenario, Scenario]]:
    outage_s: float = pytestconfig.getoption("--outage-s")
    rate: int = pytestconfig.getoption("--outage-rate")
    made = []
    for each in (own_broker, broker):
        folder = tmp_path_factory.mktemp("outage")
        assert each.create_topic("outages", 2)
        stack = Stack(folder, each.bootstrap, "outages")
        feed = Feed(each.bootstrap, "outages", rate)
        catalog = folder / "catalog"
        catalog.mkdir()
        outage = BrokerOutage(each) if each is own_broker else CatalogOutage(catalog)
        flags = (
            f"--catalog-uri=sqlite:///{catalog}/catalog.db",
            f"--buffer-rows-max={int(rate * outage_s / 4)}",
        )
        made.append(Scenario(stack, feed, outage, outage_s, flags))
    yield made[0], made[1]
    for scenario in made:
        scenario.stack.stop()


def test_outages_at_full_rate_lose_nothing_and_catch_up(
    scenarios: tuple[Scenario, Scenario],
) -> None:
    with ThreadPoolExecutor(2) as pool:
        without_broker, without_catalog = [
            future.result() for future in [pool.submit(s.run) for s in scenarios]
        ]

    for seen in (without_broker, without_catalog):
        cuts = [row["cut"] for row in seen.rows]
        mib = {name: [size // MIB for size in sizes[::10]] for name, sizes in seen.memory.items()}
        _LOG.info("anonymous memory in MiB %s; cuts %s", mib, cuts[::10])
        assert cuts == sorted(cuts)
        assert not any(seen.late(seen.ready["ingest"]))
        assert all(seen.ready["serve"])
        assert max(seen.grown("ingest"), seen.grown("serve")) < MEMORY_BYTES_MAX, seen.memory

    late = without_broker.late
    assert len({row["cut"] for row in late(without_broker.rows)}) == 1
    assert set(late(without_broker.states)) == {"stalled"}
    assert all("broker_away" in codes for codes in late(without_broker.codes["ingest"]))
    assert all({"broker_away", "stalled"} <= c for c in late(without_broker.codes["serve"]))

    late = without_catalog.late
    assert without_catalog.rows[-1]["cut"] > 2 * without_catalog.rows[0]["cut"]
    assert len({row["lake"] for row in without_catalog.rows[2:]}) == 1
    assert "stalled" not in without_catalog.states
    assert all("catalog_away" in codes for codes in late(without_catalog.codes["ingest"]))
    assert any("buffer_full" in codes for codes in without_catalog.codes["ingest"])
    assert any("catalog_away" in codes for codes in without_catalog.codes["serve"])
