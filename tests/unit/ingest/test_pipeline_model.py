"""Any history of messages, faults, crashes and restarts leaves every offset in the table once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from contract.errors import UnavailableError
from contract.levels import Level
from highwater.simulate.scheduler import SimulatedCrash
from highwater.simulate.table import Fault
from ingest.breaker import Pin
from ingest.commit import FencedError
from tests.support.failpoints import CrashAt, HeldWorker
from tests.support.sidecar_world import POISON, SETTINGS, Sidecar, World, trade

if TYPE_CHECKING:
    from collections.abc import Callable

    from highwater.simulate.log import Message

PLACES = [
    f"{role}.{place}"
    for role in ("rows", "dead")
    for place in ("before_write", "after_write", "before_commit", "after_commit")
]

good = st.builds(
    trade,
    st.sampled_from([f"id{i}" for i in range(8)]),
    st.sampled_from([1, 50, 200]),
    st.integers(1_000, 1_030),
)
messages: st.SearchStrategy[Message | None] = st.one_of(
    good, good, good, st.just(POISON), st.none()
)

batches = st.lists(messages, max_size=9)
partitions = st.integers(0, 1)
Action = tuple[str, tuple[Any, ...]]


def action(method: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    """A call of that method of `History`."""
    return st.tuples(st.just(method), st.tuples(*arguments))


actions: st.SearchStrategy[list[Action]] = st.lists(
    st.one_of(
        action("append", partitions, batches),
        action("step", st.integers(1, 6)),
        action("release"),
        action("work", partitions, batches),
        action("work", partitions, batches),
        action("fault", st.booleans(), st.sampled_from(list(Fault))),
        action("crash"),
        action("crash_at", st.sampled_from(PLACES), st.integers(1, 3)),
        action("take_over"),
        action("redeliver", st.integers(1, 5)),
        action("broker", st.booleans()),
        action("pin", st.one_of(st.none(), st.sampled_from(Level))),
    ),
    max_size=25,
)


class History:
    """Plays actions; a crashed or fenced sidecar is followed by a new one."""

    def __init__(self, late_decoding: bool) -> None:
        self.world = World(late_decoding=late_decoding)
        self.restart(CrashAt())

    def restart(self, failpoint: CrashAt) -> None:
        """The process that ran is gone, with all that it had not committed."""
        self.world.log.down = False
        self.committer = HeldWorker()
        self.sidecar = self.world.sidecar(failpoint, self.committer)
        self.guarded(self.sidecar.begin)

    def guarded(self, call: Callable[[], object]) -> None:
        """Start again when the process dies of it."""
        try:
            call()
        except SimulatedCrash as crash:
            event(f"crash {crash}")
            self.restart(CrashAt())
        except FencedError:
            event("fenced")
            self.restart(CrashAt())
        except UnavailableError:  # at the start only: afterwards the writer tries again itself
            event("not available at the start")
            self.restart(CrashAt())

    def append(self, partition: int, batch: list[Message | None]) -> None:
        self.world.log.append(partition, *batch)

    def step(self, times: int) -> None:
        self.guarded(lambda: self.sidecar.step(times))

    def release(self) -> None:
        """Let the committer work, unless it would wait for the broker."""
        if not self.world.log.down:
            self.guarded(self.committer.release)

    def work(self, partition: int, batch: list[Message | None]) -> None:
        self.append(partition, batch)
        for _ in range(5):
            self.step(2)
            self.release()

    def fault(self, dead: bool, fault: Fault) -> None:
        (self.world.dead if dead else self.world.rows).faults.append(fault)

    def pin(self, level: Level | None) -> None:
        self.world.pin = None if level is None else Pin(level, "a test", math.inf)

    def crash(self) -> None:
        self.restart(CrashAt())

    def crash_at(self, place: str, nth: int) -> None:
        self.restart(CrashAt(place, nth))

    def take_over(self) -> None:
        """A second sidecar claims the table and is gone again."""
        if not self.world.log.down:
            self.guarded(self.world.sidecar().begin)

    def redeliver(self, offsets: int) -> None:
        self.sidecar.log.redeliver = offsets

    def broker(self, down: bool) -> None:
        self.world.log.down = down

    def settle(self) -> None:
        """No more faults: a fresh sidecar catches up."""
        self.world.rows.faults.clear()
        self.world.dead.faults.clear()
        self.world.log.down = False
        self.world.pin = None
        self.world.sidecar().begin().catch_up()


@settings(max_examples=3 * settings().max_examples)
@given(actions, st.booleans())
def test_every_offset_is_once_in_rows_dead_letters_or_duplicates(
    history: list[Action], late_decoding: bool
) -> None:
    """Checked after every action, not only at the end."""
    played = History(late_decoding)
    for method, arguments in history:
        getattr(played, method)(*arguments)
        if played.world.rows.head is not None:
            played.world.check()

    played.settle()

    played.world.check()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_at_any_place_loses_and_doubles_nothing(place: str, nth: int) -> None:
    """The third hit is inside the flush of the second batch; the first ones are in claims."""
    world = World()
    world.log.append(0, trade("a"), POISON, trade("a"), trade("b", 200))
    world.log.append(1, trade("c", 1), None, POISON, trade("d"))
    sidecar = world.sidecar(CrashAt(place, nth))

    def work() -> None:
        sidecar.begin().catch_up()
        world.log.append(0, trade("e"), POISON, trade("b", 200))
        sidecar.catch_up()
        world.log.append(1, trade("f"), POISON)
        sidecar.catch_up()

    with pytest.raises(SimulatedCrash, match=place):
        work()
    if world.rows.head is not None:
        world.check()

    world.sidecar().begin().catch_up()

    world.check()


def test_dead_letters_that_are_ahead_after_a_crash_do_not_go_back() -> None:
    """The other partition's messages are committed first, while the crashed one is read again."""
    world = World()
    world.log.append(1, *[POISON] * 5)
    with pytest.raises(SimulatedCrash):
        world.sidecar(CrashAt("dead.after_commit", 2)).begin().catch_up()
    world.log.append(0, *[POISON] * 5)

    world.sidecar().begin().catch_up()

    world.check()


@given(
    st.lists(messages, min_size=1, max_size=30),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 20),
    st.booleans(),
)
def test_batching_and_restarting_do_not_change_what_is_kept(
    log: list[Message | None], poll: int, flush: int, restart_after: int, late_decoding: bool
) -> None:
    """The table is the same as one pass over the log, for any sizes and any moment of a restart."""
    world = World(
        settings=replace(SETTINGS, poll_messages=poll, flush_rows=flush),
        late_decoding=late_decoding,
    )
    world.log.append(0, *log)
    sidecar: Sidecar = world.sidecar().begin()
    sidecar.step(restart_after)

    world.sidecar().begin().catch_up()

    world.check()
