"""What happens to the world now and then: to the log, to the tables, to the processes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from contract.levels import Level
from contract.marker import MARKER_KEY
from highwater.simulate.faults import TERMINAL, Fault
from highwater.simulate.scheduler import SimulatedCrash
from ingest.breaker import Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from highwater.simulate.table import Storage
    from highwater.simulate.world import World

_PARTITIONS_MAX = 4
_CLOCK_JUMP_S = 3_600.0


class Chaos:
    """Does to the world, now and then, what the plan has chosen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._actions: dict[Fault, Callable[[], bool]] = {
            Fault.CLOCK_JUMP: self._clock_jump,
            Fault.BROKER_DOWN: self._broker_down,
            Fault.RETENTION: self._retention,
            Fault.NEW_PARTITION: self._new_partition,
            Fault.FOREIGN_COMMIT: self._foreign_commit,
            Fault.FOREIGN_EXPIRY: self._foreign_expiry,
            Fault.PROPERTY_LOST: self._property_lost,
            Fault.ROLLBACK: self._rollback,
            Fault.PINNED_LEVEL: self._pin_level,
            Fault.SECOND_SIDECAR: self._second_sidecar,
            Fault.SIDECAR_STOP: self._sidecar_stop,
            Fault.SERVER_STOP: self._server_stop,
            Fault.COLD_START: self._cold_start,
            Fault.DAMAGED_FILE: self._damaged_file,
            Fault.REBOOT: self._reboot,
            Fault.TOPIC_RECREATED: self._recreate,
            Fault.TRUNCATION: self._truncate,
            Fault.MARKER_LOST: self._marker_lost,
        }

    def run(self) -> None:
        """Until the calm."""
        world, random = self._world, self._world.random
        chosen = [f for f in world.plan.events if f in self._actions]
        terminal_s = world.plan.chaos_s * random.uniform(0.6, 0.95)
        terminal = world.plan.terminal
        while True:
            world.scheduler.sleep(random.uniform(0.3, 3.0))
            if world.calm:
                return
            if terminal and world.scheduler.now_s > terminal_s:
                if self._act(terminal):
                    terminal = None
            elif chosen:
                self._act(random.choice(chosen))

    def _act(self, fault: Fault) -> bool:
        done = self._actions[fault]()
        if done:
            self._world.faults[fault] += 1
            self._world.note("chaos", fault.value)
            if fault in TERMINAL:
                self._world.terminated = fault
        return done

    # -- the log

    def _broker_down(self) -> bool:
        world = self._world
        if world.log.down:
            return False
        world.log.down = True

        def up() -> None:
            world.log.down = False

        world.scheduler.spawn(world.outside, up, world.random.uniform(0.3, 7.0))
        return True

    def _retention(self) -> bool:
        log, random = self._world.log, self._world.random
        partition = random.choice(sorted(log.partitions))
        low, end = log.low.get(partition, 0), log.end(partition)
        if end - low < 2:
            return False
        log.delete_before(partition, random.randrange(low + 1, end + 1))
        return True

    def _new_partition(self) -> bool:
        log = self._world.log
        if len(log.partitions) >= _PARTITIONS_MAX:
            return False
        log.append(len(log.partitions))
        return True

    def _recreate(self) -> bool:
        self._world.log.recreate()
        return True

    def _truncate(self) -> bool:
        log, random = self._world.log, self._world.random
        partition = random.choice(sorted(log.partitions))
        low, end = log.low.get(partition, 0), log.end(partition)
        if end - low < 3:
            return False
        log.truncate(partition, random.randrange(low + 1, end))
        return True

    # -- the tables

    def _foreign_commit(self) -> bool:
        storage = self._world.random.choice((self._world.rows, self._world.dead))
        if storage.head is None:
            return False
        storage.add(storage.schema.empty_table(), None)
        return True

    def _foreign_expiry(self) -> bool:
        storage = self._world.random.choice((self._world.rows, self._world.dead))
        if MARKER_KEY not in storage.properties:
            return False
        if storage.last_id % 2:
            self._hide_markers(storage)
        for snapshot in list(storage.ancestors())[1:]:
            storage.forget(snapshot.snapshot_id)
        return True

    def _property_lost(self) -> bool:
        storage = self._world.random.choice((self._world.rows, self._world.dead))
        if MARKER_KEY not in storage.properties or not storage.has_summary_marker():
            return False
        del storage.properties[MARKER_KEY]
        return True

    def _rollback(self) -> bool:
        rows = self._world.rows
        targets = [s for s in rows.ancestors() if MARKER_KEY in s.summary][1:]
        if not targets:
            return False
        rows.head = self._world.random.choice(targets).snapshot_id
        hidden = Fault.FOREIGN_EXPIRY in self._world.plan.events and MARKER_KEY in rows.properties
        if hidden and self._world.random.random() < 0.5:
            self._hide_markers(rows)
        return True

    def _marker_lost(self) -> bool:
        rows = self._world.rows
        if rows.head is None or not rows.rows().num_rows:
            return False
        self._hide_markers(rows)
        rows.properties.pop(MARKER_KEY, None)
        return True

    def _hide_markers(self, storage: Storage) -> None:
        """A foreign commit, and a foreign expiry of all that is below it."""
        storage.add(storage.schema.empty_table(), None)
        for snapshot in list(storage.ancestors())[1:]:
            storage.forget(snapshot.snapshot_id)

    # -- the processes

    def _clock_jump(self) -> bool:
        world = self._world
        clocks = [s.clock for s in world.running]
        clocks += [world.server.clock] if world.server else []
        if not clocks:
            return False
        world.random.choice(clocks).skew_s += world.random.uniform(-1, 1) * _CLOCK_JUMP_S
        return True

    def _pin_level(self) -> bool:
        """Any level, for a while that may be short; the next one may come before."""
        world, level = self._world, self._world.random.choice(tuple(Level))
        world.pin = pin = Pin(level, "chaos", math.inf)

        def release() -> None:
            if world.pin is pin:
                world.pin = None

        world.scheduler.spawn(world.outside, release, world.random.uniform(0.5, 6.0))
        return True

    def _second_sidecar(self) -> bool:
        if not self._world.running:
            return False
        self._world.start_sidecar(accept_gaps=self._world.plan.accept_gaps)
        return True

    def _sidecar_stop(self) -> bool:
        if not self._world.running:
            return False
        self._world.random.choice(self._world.running).stop.request()
        return True

    def _server_stop(self) -> bool:
        server = self._world.server
        if server is None:
            return False
        try:
            server.stop()
        except SimulatedCrash:
            return False
        self._world.kill(server.owner)
        return True

    def _kill_server(self) -> bool:
        server = self._world.server
        if server is None:
            return False
        self._world.kill(server.owner)
        return True

    def _cold_start(self) -> bool:
        if not self._kill_server():
            return False
        self._world.servers[-1].wipe()
        return True

    def _damaged_file(self) -> bool:
        files: list[Path] = sorted(self._world.directory.rglob("*.arrow"))
        if not files or not self._kill_server():
            return False
        file = self._world.random.choice(files)
        if self._world.random.random() < 0.5:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(file.read_bytes()[:-20])
        return True

    def _reboot(self) -> bool:
        self._world.boot_id += "+"
        return self._kill_server()
