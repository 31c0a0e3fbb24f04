"""The ports of a simulated process: each call takes time, may fail, and may be its last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from contract.errors import UnavailableError
from contract.log import Fetched, LogProblem, RawBatch, Trouble
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.scheduler import SimulatedCrash
from ingest.ports import CommitOutcome, Committed, Conflict, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from contract.marker import Marker
    from highwater.simulate.log import ScriptedLog
    from highwater.simulate.scheduler import Owner
    from highwater.simulate.table import MemoryTable
    from highwater.simulate.world import World
    from ingest.ports import Head, OffsetRange, TopicState, Written

T = TypeVar("T")
_TRIP_S = (0.001, 0.04)
_SLOW_S = (0.5, 6.0)
_SOON_S = (0.01, 0.15)
_LATE_S = (0.2, 5.0)
_GAP_S = (0.5, 3.0)


class Port:
    """How one process reaches the world."""

    def __init__(self, world: World, owner: Owner, crash: Fault) -> None:
        self.world = world
        self.owner = owner
        self._crash = crash

    def call(self, name: str, effect: Callable[[], T]) -> T:
        """A request and its answer; UnavailableError instead if it gets lost before it arrives."""
        self.travel(name)
        if self.world.strikes(Fault.UNAVAILABLE):
            self.world.note(self.owner.name, f"{name}: unavailable")
            raise UnavailableError(f"{name} does not answer")
        result = effect()
        self.travel(f"{name} answered")
        return result

    def travel(self, place: str) -> None:
        """One way; the process may die on it."""
        world = self.world
        self.may_crash(place)
        span_s = _SLOW_S if world.strikes(Fault.SLOW) else _TRIP_S
        world.scheduler.sleep(world.random.uniform(*span_s))
        self.may_crash(place)

    def may_crash(self, place: str) -> None:
        """A place where the process may die."""
        if self.owner.dead:
            raise SimulatedCrash(place)
        if self.world.strikes(self._crash):
            self.world.note(self.owner.name, f"crash at {place}")
            self.world.kill(self.owner)
            raise SimulatedCrash(place)


class SimLog:
    """`IngestLog` of one process."""

    def __init__(self, port: Port, log: ScriptedLog) -> None:
        self.topic = log.topic
        self._port = port
        self._log = log
        self._silent_until_s = 0.0

    def topic_id(self) -> str:
        """See `LogSource`, as for the other methods."""
        return self._port.call("topic_id", self._log.topic_id)

    def partitions(self) -> list[int]:
        """See `LogSource`."""
        return self._port.call("partitions", self._log.partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        """See `LogSource`."""
        return self._port.call("bounds", lambda: self._log.bounds(partition))

    def look(self) -> TopicState:
        """See `ingest.ports.TopicLook`."""
        return self._port.call("look", self._log.log.look)

    def assign(self, next_offsets: Mapping[int, int], topic_id: str) -> None:
        """See `LogSource`."""
        self._port.may_crash("assign")
        self._log.assign(next_offsets, topic_id)

    def poll(self, max_messages: int, timeout_s: float) -> Fetched:
        """See `LogSource`."""
        world, now_s = self._port.world, self._port.world.scheduler.now_s
        self._port.may_crash("poll")
        self._disturb(now_s)
        if self._silent_until_s > now_s:
            fetched = self._silence()
        else:
            fetched = self._log.poll(max_messages, timeout_s)
        wait_s = world.random.uniform(0.01, 0.1) if len(fetched.messages) else timeout_s
        world.scheduler.sleep(wait_s)
        self._port.may_crash("poll answered")
        if len(fetched.messages):
            what = f"fetched {len(fetched.messages)} {fetched.positions}"
            world.note(self._port.owner.name, what)
        return fetched

    def _silence(self) -> Fetched:
        problems, self._log.problems = self._log.problems, []
        return Fetched(RawBatch(), {}, tuple(problems))

    def _disturb(self, now_s: float) -> None:
        world = self._port.world
        if world.strikes(Fault.POLL_GAP):
            self._silent_until_s = now_s + world.random.uniform(*_GAP_S)
        if world.strikes(Fault.REBALANCE):
            self._silent_until_s = now_s + world.random.uniform(0.1, 1.0)
            self._log.problems.append(LogProblem(Trouble.TRANSIENT, "the leader has changed"))
            self._log.redeliver = world.random.randrange(4)
        if world.strikes(Fault.REDELIVERY):
            self._log.redeliver = world.random.randrange(1, 8)
        if self._log.positions and world.strikes(Fault.REFUSED_OFFSET):
            self._log.refuse(world.random.choice(sorted(self._log.positions)))

    def pause(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self._port.world.reach(Reached.PAUSED)
        self._log.pause(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self._log.resume(partitions)

    def close(self) -> None:
        """See `LogSource`."""
        self._log.close()

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """See `IngestLog`."""
        return self._log.ends(partitions)

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        """See `IngestLog`."""
        self._log.hint(next_offsets)


class SimTable:
    """`Table` of one sidecar."""

    def __init__(self, port: Port, table: MemoryTable) -> None:
        self.name = table.name
        self._port = port
        self._table = table
        self._unsure: str | None = None  # id of the commit whose outcome is unknown
        self._conflict: str | None = None

    def head(self) -> Head:
        """See `Table`, as for the other methods."""
        head = self._port.call(f"{self.name} head", self._table.head)
        storage = self._table.storage
        if head.marker is not None and head.marker.commit_id == self._unsure:
            self._port.world.reach(Reached.READ_BACK)
        if head.marker is not None and not storage.has_summary_marker():
            self._port.world.reach(Reached.MARKER_FROM_PROPERTY)
        return head

    def write(self, rows: pa.Table) -> Written:
        """See `Table`."""
        return self._port.call(f"{self.name} write", lambda: self._table.write(rows))

    def commit(self, written: Written, marker: Marker, expected: Head) -> CommitOutcome:
        """See `Table`."""
        world, storage = self._port.world, self._table.storage
        self._port.travel(f"{self.name} commit")
        if self._unsure == marker.commit_id:
            world.reach(Reached.SENT_AGAIN)
        if world.strikes(Fault.UNAVAILABLE):
            return Unavailable("not sent")
        if world.strikes(Fault.CONFLICT):
            storage.add(storage.schema.empty_table(), None)
        outcome: CommitOutcome | None = self._unknown(written, marker, expected)
        if outcome is None:
            outcome = self._table.commit(written, marker, expected)
        self._remember(outcome, marker, written)
        next_offsets = dict(marker.next)
        world.note(self._port.owner.name, f"{self.name} commit {next_offsets}: {outcome}")
        self._port.travel(f"{self.name} commit answered")
        return outcome

    def _remember(self, outcome: CommitOutcome, marker: Marker, written: Written) -> None:
        self._unsure = marker.commit_id if isinstance(outcome, Unknown) else None
        if isinstance(outcome, Committed) and self._conflict == marker.commit_id and written.files:
            self._port.world.reach(Reached.CONFLICT_RESOLVED)
        if isinstance(outcome, Conflict):
            self._conflict = marker.commit_id

    def _unknown(self, written: Written, marker: Marker, expected: Head) -> Unknown | None:
        world = self._port.world
        if world.strikes(Fault.UNKNOWN_LOST):
            return Unknown("lost")
        if world.strikes(Fault.UNKNOWN_LANDED):
            self._table.commit(written, marker, expected)
            return Unknown("the answer is lost")
        if world.strikes(Fault.UNKNOWN_LATE):

            def land() -> None:
                outcome = self._table.commit(written, marker, expected)
                landed = isinstance(outcome, Committed)
                world.reach(Reached.LATE_LANDED if landed else Reached.LATE_REFUSED)
                world.note("catalog", f"{self.name} late commit: {outcome}")

            late_s = _LATE_S if world.random.random() < 0.5 else _SOON_S
            world.scheduler.spawn(world.outside, land, world.random.uniform(*late_s))
            return Unknown("on its way")
        return None

    def read(self, head: Head, ranges: Sequence[OffsetRange], columns: Sequence[str]) -> pa.Table:
        """See `Table`."""
        self._port.world.reach(Reached.SEEDED)
        return self._port.call(f"{self.name} read", lambda: self._table.read(head, ranges, columns))

    def expire(self, keep_snapshots: int) -> int:
        """See `Table`."""
        gone = self._port.call(f"{self.name} expire", lambda: self._table.expire(keep_snapshots))
        if gone:
            self._port.world.reach(Reached.EXPIRED)
        return gone
