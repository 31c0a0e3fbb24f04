"""One seed: chaos, then calm, then everything must have arrived."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from contract.table import LANES
from flight_server.tail.watermarks import NOTHING_YET
from flight_server.view import State
from highwater.simulate.actors import Producer, Reader, Supervisor
from highwater.simulate.chaos import Chaos
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.invariants import InvariantError
from highwater.simulate.world import World

_SETTLE_S = 60.0
_ENOUGH_S = 12.0


@dataclass
class Result:
    """What one seed, or many, did. `failures`: seed -> what does not hold."""

    seeds: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    messages: int = 0
    commits: int = 0
    views: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    reached: Counter[Reached] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    digest: int = 0  # of all traces, in whatever order

    def add(self, other: Result) -> None:
        """Take in what another one did."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.messages += other.messages
        self.commits += other.commits
        self.views += other.views
        self.faults += other.faults
        self.reached += other.reached
        self.failures |= other.failures
        self.digest ^= other.digest


@dataclass
class Run:
    """One seed's result with its trace."""

    result: Result
    trace: list[str]


def simulate(seed: int, *, traced: bool = False) -> Run:
    """Run one seed to its end, or to what does not hold."""
    world = World(seed, traced=traced)
    failure = ""
    logged = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the trace says it, and lines of the log cost time
    try:
        _play(world)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this seed's failure
        failure = f"{type(error).__name__}: {error}"
        world.note("failure", failure)
    finally:
        world.close()
        logging.disable(logged)
    result = Result(
        seeds=1,
        steps=world.scheduler.turns,
        virtual_s=world.scheduler.now_s,
        messages=sum(len(e) for e in world.log.partitions.values()),
        commits=world.rows.last_id,
        views=world.views,
        faults=world.faults,
        reached=world.reached,
        failures={seed: failure} if failure else {},
        digest=world.digest,
    )
    return Run(result, world.trace or [])


def _play(world: World) -> None:
    scheduler, outside = world.scheduler, world.outside
    for fault in (Fault.DISK_CAP, Fault.SENSITIVE_BREAKER):
        world.faults[fault] += fault in world.plan.events
    for actor in (Producer(world), Chaos(world), Supervisor(world), Reader(world)):
        scheduler.spawn(outside, actor.run, world.random.uniform(0, 0.5))
    scheduler.run(world.plan.chaos_s)
    world.calm, world.pin = True, None
    world.log.down = False
    world.note("world", "calm")
    if world.terminated is None:
        _require_arrival(world)
    else:
        _require_refusal(world, world.terminated)


def _require_arrival(world: World) -> None:
    if not world.scheduler.run(_SETTLE_S, lambda: _table_arrived(world) and _view_arrived(world)):
        raise InvariantError(f"not at the log's end in {_SETTLE_S:g} s: {_where(world)}")


def _require_refusal(world: World, fault: Fault) -> None:
    """The state that a person must resolve is the right one, and is told to both sides."""

    def refused() -> bool:
        if fault is Fault.MARKER_LOST:
            return _sidecar_says(world, "marker")
        if fault is Fault.TOPIC_RECREATED:
            if _table_arrived(world) and _view_arrived(world):  # it held nothing of the old one
                return True
            return _sidecar_says(world, "made again") and _server_says(world, "made again")
        words = "ends at offset"
        sidecar = _sidecar_says(world, words) or _table_arrived(world)
        return sidecar and (_server_says(world, words) or _view_arrived(world))

    if not world.scheduler.run(_SETTLE_S, refused):
        raise InvariantError(f"{fault.value}, and nobody says so: {_where(world)}")
    world.scheduler.run(_ENOUGH_S)  # nor may it be forgotten


def _sidecar_says(world: World, words: str) -> bool:
    ended = [s.ended for s in world.sidecars if s.ended not in ("", "crashed", "stopped")]
    return bool(ended) and words in ended[-1]


def _server_says(world: World, words: str) -> bool:
    server = world.server
    if server is None:
        return False
    view = server.view()
    if view is not None:  # its disk is full, so it reads nothing and can't find it out
        return view.state is State.STALLED and "size limit" in view.reason
    return words in server.watch.why_none


def _table_arrived(world: World) -> bool:
    marker = world.tables.rows(world.rows.head).marker
    if marker is None or marker.topic_id != world.log.topic_id or not world.running:
        return False
    return all(
        marker.next.get(p, NOTHING_YET) == (world.log.end(p),) * len(LANES)
        for p in world.log.partitions
    )


def _view_arrived(world: World) -> bool:
    server = world.server
    view = server.view() if server else None
    if view is None or view.state is not State.COMPLETE:
        return False
    return all(min(view.cut.get(p, (0,))) >= world.log.end(p) for p in world.log.partitions)


def _where(world: World) -> str:
    marker = world.tables.rows(world.rows.head).marker
    server = world.server
    view = server.view() if server else None
    ends = {p: world.log.end(p) for p in world.log.partitions}
    why = server.watch.why_none if server else "no server"
    shown = f"{view.cut} {view.state.value} {view.reason}" if view else why
    sidecars = [s.ended for s in world.sidecars[-2:]]
    read = dict(marker.next) if marker else None
    return f"log {ends} from {world.log.low}, table {read}, view {shown}, sidecars {sidecars}"
