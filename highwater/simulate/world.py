"""One simulation: what outlives the processes, the processes, and the seed's random choices."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from contract.table import DEAD_SCHEMA
from highwater.simulate.faults import Fault, Plan, Reached
from highwater.simulate.invariants import InvariantError, TableChecks, ViewChecks
from highwater.simulate.log import Log
from highwater.simulate.oracle import DEFINITION, Oracle
from highwater.simulate.scheduler import Owner, Scheduler
from highwater.simulate.server import Server
from highwater.simulate.sidecar import Sidecar
from highwater.simulate.table import Storage

if TYPE_CHECKING:
    from flight_server.view import View
    from highwater.simulate.lake import SimSnapshot
    from ingest.breaker import Pin

_MAINTAINED = 0.25  # share of the seeds
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


class World:
    """Log, tables and files, and who runs on them."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.random = Random(seed)
        # Of its own, so that a seed without maintenance plays as if there were none.
        self.upkeep = Random(seed + 1)
        self.is_maintained = self.upkeep.random() < _MAINTAINED
        self.plan = Plan.of(self.random)
        self.calm = False
        self.pin: Pin | None = None  # of the sidecars' breakers
        self.terminated: Fault | None = None  # of those that a person must resolve
        self.log = Log(DEFINITION.topic, "topic-1", {p: [] for p in range(self.plan.partitions)})
        self.rows = Storage(DEFINITION.stored_schema)
        self.dead = Storage(DEAD_SCHEMA)
        self.scheduler = Scheduler(self._after_turn)
        self.outside = Owner("outside")
        self.directory = Path(
            tempfile.mkdtemp(prefix="highwater-", dir=_MEMORY if _MEMORY.is_dir() else None)
        )
        self.boot_id = "boot-1"
        self.sidecars: list[Sidecar] = []
        self.servers: list[Server] = []
        self.server: Server | None = None
        self.tables = TableChecks(self)
        self.faults: Counter[Fault] = Counter()
        self.reached: Counter[Reached] = Counter()
        self.views = 0
        self.trace: list[str] | None = [] if traced else None
        self._digest = hashlib.blake2b(digest_size=8)
        self._oracles: dict[str, Oracle] = {}
        self._made = 0
        self._checks: ViewChecks | None = None

    @property
    def digest(self) -> int:
        """Of the whole trace: the same seed has the same one."""
        return int.from_bytes(self._digest.digest(), "big")

    @property
    def running(self) -> list[Sidecar]:
        """The sidecars that run."""
        return [s for s in self.sidecars if not s.ended]

    def next_id(self) -> str:
        """Ids that are unique over all processes."""
        self._made += 1
        return f"id-{self._made}"

    def oracle(self, topic_id: str) -> Oracle:
        """What the topic of that id means."""
        if topic_id not in self._oracles:
            if topic_id != self.log.topic_id:
                raise InvariantError(f"topic id {topic_id} was never read")
            self._oracles[topic_id] = Oracle(self.log.partitions)
        return self._oracles[topic_id]

    def strikes(self, fault: Fault) -> bool:
        """Whether this fault happens here and now."""
        rate = self.plan.rates.get(fault)
        if rate is None or self.calm or self.random.random() >= rate:
            return False
        self.faults[fault] += 1
        return True

    def reach(self, state: Reached) -> None:
        """That state was reached."""
        self.reached[state] += 1

    def note(self, who: str, what: str) -> None:
        """One line of the trace."""
        line = f"{self.scheduler.now_s:9.4f} {who}: {what}"
        self._digest.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    def kill(self, owner: Owner) -> None:
        """That process is gone."""
        self.scheduler.bury(owner)
        for sidecar in self.sidecars:
            if sidecar.owner is owner:
                sidecar.ended = sidecar.ended or "crashed"
        if self.server is not None and self.server.owner is owner:
            self.server.files.close()
            self.server, self._checks = None, None

    def start_sidecar(self, *, accept_gaps: bool) -> Sidecar:
        """A new process."""
        sidecar = Sidecar(self, len(self.sidecars) + 1, accept_gaps)
        self.note(sidecar.owner.name, "starts")
        self.sidecars.append(sidecar)
        sidecar.start()
        return sidecar

    def start_server(self) -> Server:
        """A new process on the files that are there."""
        self.server = Server(self, len(self.servers) + 1)
        self.note(self.server.owner.name, "starts")
        self.servers.append(self.server)
        self._checks = ViewChecks(self, self.server)
        self.server.start()
        return self.server

    def check_pinned(self, view: View[SimSnapshot]) -> None:
        """A view that a statement holds still is what it was."""
        assert self._checks is not None
        self._checks.check_view(view)

    def close(self) -> None:
        """End every process, and remove the files."""
        self.scheduler.end()
        if self.server is not None:
            self.server.files.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _after_turn(self) -> None:
        self.oracle(self.log.topic_id)
        self.tables.check()
        for sidecar in self.sidecars:
            if not sidecar.ended:
                rows = sidecar.pipeline.held_rows
                share = self.plan.poll_messages // 10 + 1  # of the backfill in any case
                limit = self.plan.buffer_rows + 2 * (self.plan.poll_messages + share)
                if rows > limit:
                    raise InvariantError(f"{rows} rows in memory, the bound is {limit}")
        if self._checks is not None:
            self._checks.check()
