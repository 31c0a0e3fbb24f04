"""What a sidecar says of itself while it waits, and that it takes it back afterwards."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from contract.errors import UnavailableError
from contract.health import Conditions
from highwater.simulate.table import Fault
from ingest.app import BLOCKING, Environment, Sidecar
from ingest.config import IngestSettings
from ingest.stop import Stop
from tests.support.failpoints import HandClock, HeldWorker
from tests.support.sidecar_world import POISON, World, trade

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class WatchingClock(HandClock):
    """Somebody looks on whenever somebody waits."""

    look: Callable[[], None] = field(default=lambda: None)

    def sleep(self, duration_s: float) -> None:
        super().sleep(duration_s)
        self.look()


@dataclass
class Watched:
    """A world, its conditions, and every code that held while somebody waited."""

    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        clock = WatchingClock()
        self.conditions = Conditions("ingest", BLOCKING, clock)
        self.world = World(clock=clock, health=self.conditions.of("trades"))
        clock.look = lambda: self.seen.update(self.codes())

    def codes(self) -> list[str]:
        return [r["code"] for r in self.conditions.document()["reasons"]]


@pytest.fixture
def watched() -> Watched:
    made = Watched()
    made.world.log.append(0, *(trade(f"m{i}") for i in range(10)))
    return made


def test_a_broker_that_does_not_answer_is_said_and_taken_back(watched: Watched) -> None:
    sidecar = watched.world.sidecar().begin()
    sidecar.catch_up()
    watched.world.log.down = True
    sidecar.step(20)
    assert watched.codes() == ["broker_away"]
    assert watched.conditions.document()["ready"] is False

    watched.world.log.down = False
    sidecar.step(20)

    assert watched.codes() == []


def test_a_start_without_a_broker_says_what_it_waits_for(watched: Watched) -> None:
    sidecar = watched.world.sidecar()
    watched.world.log.down = True
    with pytest.raises(UnavailableError):
        sidecar.pipeline.begin()
    clock = watched.world.clock
    assert isinstance(clock, WatchingClock)
    clock.look = lambda: sidecar.stop.request() if watched.codes() else None
    sidecar.pipeline.run()
    assert watched.codes() == ["starting"]

    watched.world.log.down = False
    watched.world.sidecar().begin()

    assert watched.codes() == []


@pytest.mark.parametrize(
    "fault", [Fault.UNAVAILABLE, Fault.LOST, Fault.NO_HEAD, Fault.NO_WRITE, Fault.LANDED]
)
def test_a_catalog_that_does_not_answer_is_said_until_the_commit_is_in(
    watched: Watched, fault: Fault
) -> None:
    sidecar = watched.world.sidecar().begin()
    watched.world.rows.faults.append(fault)

    sidecar.catch_up()

    assert watched.seen == {"catalog_away"}
    assert watched.codes() == []


def test_another_commit_that_came_first_is_no_condition(watched: Watched) -> None:
    sidecar = watched.world.sidecar().begin()
    watched.world.rows.faults.append(Fault.FOREIGN)

    sidecar.catch_up()

    assert watched.seen == set()


def test_rows_wait_for_their_dead_letters_and_say_so(watched: Watched) -> None:
    watched.world.log.append(0, POISON)
    sidecar = watched.world.sidecar().begin()
    watched.world.dead.faults.extend([Fault.NO_WRITE, Fault.LOST])

    sidecar.catch_up()

    assert watched.seen == {"catalog_away"}
    watched.world.check()


def test_a_start_on_a_full_disk_waits_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = WatchingClock()
    stop = Stop(clock, 30.0)
    settings = IngestSettings(data_dir=tmp_path / "data", health_port=0)
    sidecar = Sidecar(settings, Environment(clock, Random(1), lambda: "id", stop))
    seen: list[str] = []

    def look() -> None:
        seen.extend(r["code"] for r in sidecar._conditions.document()["reasons"])
        monkeypatch.undo()  # there is room

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    clock.look = look
    monkeypatch.setattr(Path, "mkdir", no_room)
    sidecar._catalog(sidecar._conditions.of("trades")).close()

    assert set(seen) == {"disk_full", "starting"}
    assert [r["code"] for r in sidecar._conditions.document()["reasons"]] == ["starting"]


def test_a_full_buffer_is_said_and_does_not_end_readiness(watched: Watched) -> None:
    watched.world.log.append(0, *(trade(f"n{i}") for i in range(100)))
    committer = HeldWorker()
    sidecar = watched.world.sidecar(committer=committer).begin()
    sidecar.step(20)
    assert watched.codes() == ["buffer_full"]
    assert watched.conditions.document()["ready"] is True

    while watched.world.marker.next_offset(0) < 110:
        committer.release()
        sidecar.step()

    assert watched.codes() == []


def test_the_figures_tell_lag_buffer_and_the_last_commit(watched: Watched) -> None:
    committer = HeldWorker()
    sidecar = watched.world.sidecar(committer=committer).begin()
    sidecar.step(6)
    before = watched.conditions.document()["tables"]["trades"]
    while watched.world.marker.next_offset(0) < 10:
        committer.release()
        sidecar.step()
    sidecar.step(4)
    after = watched.conditions.document()["tables"]["trades"]

    assert (before["lag_messages"], before["last_commit_at"]) == (10, None)
    assert before["buffered_rows"] == 10
    assert before["buffered_bytes"] > 0
    assert (after["lag_messages"], after["buffered_rows"], after["buffered_bytes"]) == (0, 0, 0)
    assert after["last_commit_at"].startswith("1970-01-01T00:16:")
