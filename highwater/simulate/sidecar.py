"""One sidecar: the real pipeline, as its process runs it, on simulated ports."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING, Any

from contract.errors import OperatorError, UnavailableError
from contract.health import Code, NoHealth
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.log import ScriptedLog
from highwater.simulate.oracle import DEFINITION
from highwater.simulate.ports import Port, SimLog, SimTable
from highwater.simulate.scheduler import Owner, SimClock, SimulatedCrash, SimWorker
from highwater.simulate.table import MemoryTable
from highwater.simulate.upkeep import maintain
from ingest.backoff import Backoff
from ingest.commit import FencedError, TableWriter, WriterParts
from ingest.config import IngestSettings
from ingest.pipeline import Parts, Pipeline
from ingest.stop import Stop

if TYPE_CHECKING:
    from highwater.simulate.table import Storage
    from highwater.simulate.world import World

_LOG = logging.getLogger(__name__)
_SENSITIVE: dict[str, Any] = {
    "breaker_lag_messages": ("4:1", "8:4", "14:8", "20:14"),
    "breaker_commit_s": ("1:0.5", "2:1", "3:2", "6:3"),
    "breaker_failed_commits": ("1:0", "2:1", "3:2", "4:3"),
    "breaker_wait_max_s": 3.0,
}
_STOPPED_BY = {
    "deleted and made again": Reached.TOPIC_OTHER,
    "ends at offset": Reached.TRUNCATED,
    "changed from outside": Reached.ROLLED_BACK,
    "lost its marker": Reached.MARKER_MISSED,
    "with them its marker": Reached.MARKER_MISSED,
    "does not hold": Reached.COPY_REFUSED,
    "holds rows but no marker": Reached.MARKER_MISSED,
    "--accept-gaps": Reached.GAP_REFUSED,
}


class Watch(NoHealth):
    """What a sidecar says of its load."""

    def __init__(self, world: World) -> None:
        self._world = world

    def set(self, code: Code, text: str) -> None:
        """See `Health`."""
        if code is Code.OVERLOADED:
            if "reached" in text:
                self._world.reach(Reached.LEVEL_ROSE)
            if "was left at" in text:
                self._world.reach(Reached.STARTED_ABOVE)


class Sidecar:
    """A process; `ended` says how it ended: empty while it runs."""

    def __init__(self, world: World, number: int, accept_gaps: bool) -> None:
        self.world = world
        self.owner = Owner(f"sidecar-{number}")
        self.clock = SimClock(world.scheduler)
        self.ended = ""
        self.stop = Stop(self.clock, timeout_s=6.0)
        self._port = Port(world, self.owner, Fault.SIDECAR_CRASH)
        self.log = SimLog(self._port, ScriptedLog(world.log))
        plan = world.plan
        settings = IngestSettings(
            flush_interval_s=plan.flush_interval_s,
            flush_rows=plan.flush_rows,
            buffer_rows_max=plan.buffer_rows,
            poll_messages=plan.poll_messages,
            poll_timeout_s=0.4,
            topic_check_s=1.5,
            expire_every_commits=3,
            keep_snapshots=2,
            accept_gaps=accept_gaps,
            **(_SENSITIVE if Fault.SENSITIVE_BREAKER in plan.events else {}),
            breaker_up_s=0.3,
            breaker_down_s=0.6,
        )
        self.pipeline = Pipeline(self._parts(), settings)

    def start(self) -> None:
        """Run it."""
        self.world.scheduler.spawn(self.owner, self._run, self.world.random.uniform(0, 0.2))
        if self.world.is_maintained:
            self.world.scheduler.spawn(self.owner, self._maintain, self.world.upkeep.uniform(0, 1))

    def _maintain(self) -> None:
        world = self.world
        maintain(
            self._port,
            world.rows,
            self.clock,
            lambda: self._rows.epoch,
            world.next_id,
            world.upkeep,
        )

    def _run(self) -> None:
        try:
            self.pipeline.run()
            self._end("stopped", Reached.STOPPED_CLEANLY)
        except FencedError:
            self._end("fenced", Reached.FENCED)
        except OperatorError as error:
            found = [reached for words, reached in _STOPPED_BY.items() if words in str(error)]
            self._end(str(error), *found)
        except UnavailableError as error:
            self._end(f"no time: {error}")
        except SimulatedCrash:
            self.ended = "crashed"
            raise
        self.world.kill(self.owner)

    def _end(self, how: str, *reached: Reached) -> None:
        for each in reached:
            self.world.reach(each)
        self.ended = how
        self.world.note(self.owner.name, f"ends: {how}")

    def _parts(self) -> Parts:
        world, random = self.world, self.world.random
        scheduler, owner = world.scheduler, self.owner
        late = world.plan.late_decoding
        self._rows = self._writer(world.rows, "rows")
        return Parts(
            definition=DEFINITION,
            log=self.log,
            look=SimLog(self._port, ScriptedLog(world.log)).look,
            log_again=self._log_again,
            rows=self._rows,
            dead=self._writer(world.dead, "dead"),
            committer=SimWorker(scheduler, owner, lambda: random.uniform(0, 0.02)),
            watcher=SimWorker(scheduler, owner, lambda: random.uniform(0, 0.02)),
            decoder=SimWorker(scheduler, owner, lambda: random.uniform(0, 0.3) if late else 0.0),
            clock=self.clock,
            backoff=self._backoff,
            stop=self.stop,
            health=Watch(world),
            pins=lambda: world.pin,
        )

    def _log_again(self) -> SimLog:
        self.world.reach(Reached.BACKFILL)
        return SimLog(self._port, ScriptedLog(self.world.log))

    def _writer(self, storage: Storage, role: str) -> TableWriter:
        table = SimTable(self._port, MemoryTable(storage, role))
        parts = WriterParts(self.world.next_id, self.stop, self._backoff(), self._port.may_crash)
        return TableWriter(table, role, parts)

    def _backoff(self) -> Backoff:
        return Backoff(Random(self.world.random.random()), 0.05, 0.5)
