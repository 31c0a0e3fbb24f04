"""Any interleaving of the tail's events gives views that equal the log's prefix."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contract.table import LANES, Lane
from flight_server.tail.watermarks import NOTHING_YET, first_below
from tests.support.log_model import Event, ModelLog, Poison
from tests.support.view_model import ModelLake, ModelSnapshot, Server, check

if TYPE_CHECKING:
    from flight_server.view import View

# Few ids and slow time: duplicates inside and outside of both windows are common.
EVENTS = st.tuples(
    st.sampled_from("abcdefg"), st.sampled_from(Lane), st.integers(min_value=-3, max_value=12)
)
OTHERS = st.sampled_from(["poison", "hole"])
ENTRIES = st.lists(st.one_of(EVENTS, EVENTS, EVENTS, OTHERS), min_size=2, max_size=12)
ROUNDS = st.integers(min_value=0, max_value=4)


class TailMachine(RuleBasedStateMachine):
    """A log, a lake that is fed from it somehow, and a server between them."""

    @initialize(partitions=st.integers(min_value=1, max_value=2), start=st.booleans())
    def begin(self, partitions: int, start: bool) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.log = ModelLog(entries={p: [] for p in range(partitions)})
        self.lake = ModelLake(self.log)
        self.server = Server(self.log, self.lake, self.directory)
        self.seen: dict[int, tuple[int, ...]] = {}
        self.pinned: list[tuple[View[ModelSnapshot], int]] = []
        if start:
            self.server.refresh()
            self.server.follower.step()

    @rule(data=st.data(), entries=ENTRIES, rounds=ROUNDS, sealed=st.booleans())
    def produce(self, data: Any, entries: list[Any], rounds: int, sealed: bool) -> None:
        """Messages come, some rounds of following, and perhaps what is open is sealed."""
        partition = data.draw(st.sampled_from(sorted(self.log.entries)))
        for entry in entries:
            if entry == "hole":
                self.log.produce(partition, None)
            elif entry == "poison":
                self.log.produce(partition, Poison(self.log.now_us))
            else:
                event_id, lane, step_us = entry
                self.log.now_us += step_us
                self.log.produce(partition, Event(event_id, lane, self.log.now_us))
        for _ in range(rounds):
            self.server.follower.step()
        if sealed:
            self.server.keeper.seal(everything=True)

    @rule(pause_s=st.sampled_from([0.1, 6.0]), rounds=ROUNDS)
    def keep(self, pause_s: float, rounds: int) -> None:
        self.server.clock.now_s += pause_s
        for _ in range(rounds):
            self.server.keeper.step()
            self.server.follower.step()

    @rule(data=st.data(), lanes=st.sets(st.sampled_from(Lane), min_size=1), refreshed=st.booleans())
    def commit(self, data: Any, lanes: set[Lane], refreshed: bool) -> None:
        """Some lanes go on, the others are deferred; partitions go on at their own pace."""
        reached = {}
        for partition in self.log.entries:
            before = self.lake.next.get(partition, (0,) * len(LANES))
            end = data.draw(st.integers(min_value=max(before), max_value=self.log.end(partition)))
            reached[partition] = tuple(end if ln in lanes else before[ln] for ln in LANES)
        self.lake.commit(reached)
        if refreshed:
            self.server.refresh()

    @rule()
    def refresh(self) -> None:
        self.server.refresh()

    @rule(commits=st.integers(min_value=1, max_value=3), refreshed=st.booleans())
    def roll_back(self, commits: int, refreshed: bool) -> None:
        self.lake.roll_back(commits)
        if refreshed:
            self.server.refresh()

    @rule(
        data=st.data(),
        how=st.sampled_from(["warm", "warm", "warm", "damaged", "cold", "boot"]),
        rounds=ROUNDS,
    )
    def restart(self, data: Any, how: str, rounds: int) -> None:
        """The server is killed and comes back, with its files, without, or after a new boot."""
        self.server.files.close()
        files = sorted(self.directory.rglob("*.arrow"))
        if how == "damaged" and files:
            file = data.draw(st.sampled_from(files))
            if data.draw(st.booleans()):
                file.write_bytes(file.read_bytes()[:-20])
            else:
                file.unlink()
        if how == "cold":
            shutil.rmtree(self.directory)
        self.server.boot_id += "+" if how == "boot" else ""
        self.server.start()
        self.seen, self.pinned = {}, []
        self.server.refresh()
        for _ in range(rounds):
            self.server.follower.step()

    @precondition(lambda self: len(self.log.entries) < 3)
    @rule()
    def add_partition(self) -> None:
        self.log.produce(len(self.log.entries))

    @rule()
    def pin(self) -> None:
        if (view := self.server.view()) is not None:
            self.pinned.append((view, sum(b.num_rows for b in view.tail)))

    @invariant()
    def view_is_the_prefix(self) -> None:
        view = self.server.view()
        if view is None:
            return
        note(f"next {view.next} hi {view.hi}")
        check(view, self.log)
        index = self.server.publisher.index()
        assert index is not None
        assert first_below(view.next, index.lo) is None
        for partition, before in self.seen.items():
            now = view.cut.get(partition, NOTHING_YET)
            assert all(a >= b for a, b in zip(now, before, strict=True))
        self.seen = dict(view.cut)

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        for view, rows in self.pinned:
            assert sum(b.num_rows for b in view.tail) == rows
            check(view, self.log)
        check(self.server.settle(), self.log)
        self.server.files.close()
        shutil.rmtree(self.directory)


TestTailMachine = TailMachine.TestCase
