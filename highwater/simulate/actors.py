"""Who acts on the world besides the processes: a producer, a supervisor, a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.marker import MARKER_KEY
from contract.table import LANES
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.log import Message
from highwater.simulate.oracle import an_event

if TYPE_CHECKING:
    from highwater.simulate.world import World


class Producer:
    """Writes messages of all kinds, some at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now_us = 1_700_000_000_000_000
        self._made = 0

    def run(self) -> None:
        """Until the planned number of messages is written."""
        world, random = self._world, self._world.random
        pause_s = world.plan.chaos_s / max(1, world.plan.messages / 4)
        while self._made < world.plan.messages and not world.calm:
            self.write(random.randrange(1, 8))
            world.scheduler.sleep(random.uniform(0.2, 1.8) * pause_s)

    def write(self, count: int) -> None:
        """So many messages into one partition."""
        log, random = self._world.log, self._world.random
        open_partitions = [p for p in log.partitions if p not in log.lost_from]
        if log.down or not open_partitions:
            return
        partition = random.choice(open_partitions)
        messages = [self._message() for _ in range(count)]
        log.append(partition, *messages)
        if Fault.CONTROL_RECORDS in self._world.plan.events and random.random() < 0.5:
            self._happens(Fault.CONTROL_RECORDS)
            log.append(partition, None)
        self._made += count
        self._world.note("producer", f"{count} to {partition}, end {log.end(partition)}")

    def _message(self) -> Message:
        random, events = self._world.random, self._world.plan.events
        if Fault.POISON in events and random.random() < 0.15:
            self._happens(Fault.POISON)
            return Message(random.choice((b'{"id": 7', b"[]", b"")), self._now_us)
        if Fault.TOMBSTONE in events and random.random() < 0.08:
            self._happens(Fault.TOMBSTONE)
            return Message(None, self._now_us, b"key")
        self._now_us += random.choice((1_000, 1_000, 4_000, 15_000, -3_000))
        number = random.randrange(self._world.plan.ids)
        if Fault.REPEATED_IDS in events:
            self._happens(Fault.REPEATED_IDS)
        else:
            number = self._made * 1_000 + random.randrange(1_000)
        return an_event(f"id{number}", random.choice(LANES), self._now_us)

    def _happens(self, fault: Fault) -> None:
        self._world.faults[fault] += 1


class Supervisor:
    """Starts what has died, as the system's supervisor does."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self) -> None:
        """For ever."""
        world, random = self._world, self._world.random
        while True:
            if not world.running:
                if world.calm and world.sidecars:
                    self._advise(world.sidecars[-1].ended)
                world.start_sidecar(accept_gaps=world.plan.accept_gaps)
            if world.server is None:
                world.start_server()
            world.scheduler.sleep(random.uniform(0.2, 1.2))

    def _advise(self, said: str) -> None:
        """Do what the last sidecar's last words ask for."""
        if "--accept-gaps" in said:
            self._world.plan.accept_gaps = True
        elif "roll the table forward" in said:
            rows = self._world.rows
            wanted = rows.properties[MARKER_KEY]
            found = [s for s in rows.snapshots.values() if s.summary.get(MARKER_KEY) == wanted]
            rows.head = found[0].snapshot_id


class Reader:
    """A statement now and then: it pins a view, and reads it for a while."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self) -> None:
        """For ever."""
        world, random = self._world, self._world.random
        while True:
            world.scheduler.sleep(random.uniform(0.5, 3.0))
            server = world.server
            view = server.view() if server else None
            if view is None:
                continue
            world.views += 1
            world.note("reader", f"cut {dict(view.cut)}, lake {view.lake.snapshot_id}")
            world.scheduler.sleep(random.uniform(0.1, 4.0))
            if world.server is None or world.server is not server:
                continue
            world.check_pinned(view)
            index = server.publisher.index()
            held = {id(h.segment) for h in index.held} if index else set()
            if any(h.segment.number and id(h.segment) not in held for h in view.held):
                world.reach(Reached.PINNED_OUTLIVES)
