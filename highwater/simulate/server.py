"""One server's tail: the real follower, keeper and refresher, on simulated ports and real files."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from contract.decode import Decoder
from contract.errors import UnavailableError
from flight_server.refresher import Refresher
from flight_server.tail.files import TailFiles
from flight_server.tail.follower import Follower
from flight_server.tail.index import TailLimits
from flight_server.tail.keeper import Keeper, KeeperLimits, LogHealth
from flight_server.tail.pace import FollowerLimits
from flight_server.view import FreshnessLimits, ViewPublisher
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.lake import SimLake, SimSnapshot
from highwater.simulate.log import ScriptedLog
from highwater.simulate.oracle import DEFINITION
from highwater.simulate.ports import Port, SimLog
from highwater.simulate.scheduler import Owner, SimClock, SimLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from flight_server.view import View
    from highwater.simulate.world import World

_FOLLOW_S = 0.3
_KEEP_S = 0.4
_REFRESH_S = 0.5


def faulty_disk(world: World, port: Port) -> Path:
    """The directory of the tail's files; opening for writing fails while the disk is full."""

    class Disk(type(Path())):  # type: ignore[misc]  # the platform's own class of paths
        def open(self, mode: str = "r", *arguments: Any, **options: Any) -> IO[Any]:
            if mode == "wb" and self.suffix == ".tmp":
                if world.strikes(Fault.DISK_FULL):
                    world.note(port.owner.name, "the disk is full")
                    raise OSError(errno.ENOSPC, "no space left")
                port.may_crash("tail file opened")
            return cast("IO[Any]", super().open(mode, *arguments, **options))

        def rename(self, target: Any) -> Any:
            port.may_crash("tail file written")
            return super().rename(target)

    return cast("Path", Disk(world.directory))


class Server:
    """A process. `cut`: the newest cut that a view of it had, with the topic's id."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.owner = Owner(f"server-{number}")
        self.clock = SimClock(world.scheduler)
        self.port = Port(world, self.owner, Fault.SERVER_CRASH)
        plan = world.plan
        self.publisher: ViewPublisher[SimSnapshot] = ViewPublisher(
            self.clock, DEFINITION.rules_digest, FreshnessLimits(lag_messages=3, lag_s=2.0)
        )
        self.files = TailFiles(
            faulty_disk(world, self.port), DEFINITION, world.boot_id, plan.disk_cap_bytes
        )
        self.files.busy = cast("Any", SimLock(world.scheduler))
        self.health = health = LogHealth()
        rows = SimLake(self.port, world.rows, "rows")
        dead = SimLake(self.port, world.dead, "dead")
        self.limits = FollowerLimits(
            poll_messages=plan.poll_messages,
            poll_s=_FOLLOW_S,
            open_bytes=plan.open_bytes,
            stalled_after_s=4.0,
        )
        self.follower = Follower(
            DEFINITION,
            SimLog(self.port, ScriptedLog(world.log)),
            Decoder(DEFINITION),
            self.publisher,
            self.files,
            rows.seed_rows,
            self.clock,
            health,
            self.limits,
            TailLimits(plan.merge_segments, 20_000, plan.seal_rows, 10**9, 3.0, 1),
        )
        self.keeper = Keeper(
            SimLog(self.port, ScriptedLog(world.log)),
            self.publisher,
            self.files,
            self.clock,
            health,
            KeeperLimits(identity_period_s=2.0),
        )
        self.refresher = Refresher(cast("Any", rows), cast("Any", dead), self._on_lake, _REFRESH_S)
        self.watch = Watch(self)

    def start(self) -> None:
        """Run the three threads."""
        scheduler = self.world.scheduler
        scheduler.spawn(self.owner, lambda: self._loop(self.follower.step, 0.0))
        scheduler.spawn(self.owner, lambda: self._loop(self._keep, _KEEP_S))
        scheduler.spawn(self.owner, lambda: self._loop(self.refresher.step, _REFRESH_S))

    def view(self) -> View[SimSnapshot] | None:
        """The current view."""
        try:
            return self.publisher.current()
        except UnavailableError as error:
            self.watch.why_none = str(error)
            return None

    def stop(self) -> None:
        """As `TailRunner.stop`: seal what is open for the next start, and let the files go."""
        while self.keeper.seal(everything=True):
            pass
        self.files.close()

    def wipe(self) -> None:
        """Remove the files of a process that is gone."""
        shutil.rmtree(self.world.directory / DEFINITION.name)

    def _loop(self, step: Callable[[], object], pause_s: float) -> None:
        random = self.world.random
        while True:
            step()
            self.world.scheduler.sleep(pause_s * random.uniform(0.5, 1.5))

    def _keep(self) -> None:
        while True:
            before = self.files.byte_count
            sealed = self.keeper.step()
            if self.files.byte_count < before:
                self.world.reach(Reached.TRIMMED)
            if self.health.full:
                self.world.reach(Reached.SEAL_REFUSED)
            if not sealed:
                return
            self.world.reach(Reached.SEALED)

    def _on_lake(self, lake: Any, dead: Any) -> None:
        self.publisher.on_lake(lake, dead)


class Watch:
    """What is seen of a server from outside, turn by turn."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.why_none = ""
        self._had_view = False
        self._withdrawn = False
        self._started = False

    def look(self, view: View[SimSnapshot] | None) -> None:
        """Note the states that are reached."""
        reach = self._server.world.reach
        self._look_at_start()
        if view is None:
            if self._had_view:
                self._withdrawn = True
                reach(Reached.VIEW_WITHDRAWN)
            if "made again" in self.why_none or "ends at offset" in self.why_none:
                reach(Reached.SERVER_BROKEN)
            self._had_view = False
            return
        self._had_view = True
        if self._withdrawn:
            self._withdrawn = False
            reach(Reached.VIEW_BACK)
        if view.state.value == "stalled":
            reach(Reached.VIEW_STALLED)
        elif view.state.value == "complete":
            reach(Reached.VIEW_COMPLETE)
        if any(c.batch is not c.chunk.batch and c.batch for h in view.held for c in h.chunks):
            reach(Reached.SEAM_INSIDE_CHUNK)

    def _look_at_start(self) -> None:
        index = self._server.publisher.index()
        if index is not None and not self._started:
            self._started = True
            warm = Reached.WARM_START if index.sealed else Reached.COLD_STARTED
            self._server.world.reach(warm)
