"""A lake in memory, a server's tail over it, and the comparison of a view with the log's prefix."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from contract.decode import Decoder
from contract.duplicates import CLOCK_START_US, DuplicateWindow, Remembered
from contract.errors import UnavailableError
from contract.health import NO_HEALTH, Health
from contract.log import RawBatch
from contract.marker import Marker, NextOffsets
from contract.table import LANES, OFFSET, PARTITION
from flight_server.tail.files import TailFiles
from flight_server.tail.follower import Follower
from flight_server.tail.index import TailLimits
from flight_server.tail.keeper import Keeper, KeeperLimits, LogHealth
from flight_server.tail.pace import FollowerLimits
from flight_server.view import FreshnessLimits, View, ViewPublisher
from tests.support.log_model import DEFINITION, ManualClock, ModelLog, ModelSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pyarrow as pa

SMALL = TailLimits(merge_segments=2, seal_rows=6, seal_age_s=5.0, seal_rows_min=1)


@dataclass(frozen=True)
class ModelSnapshot:
    """`LakeLike`: everything below the marker's watermarks."""

    snapshot_id: int | None
    marker: Marker | None


@dataclass
class ModelLake:
    """A table and its dead letters, with a history that can be rolled back."""

    log: ModelLog
    history: list[tuple[ModelSnapshot, ModelSnapshot]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history.append((ModelSnapshot(None, None), ModelSnapshot(None, None)))

    @property
    def now(self) -> tuple[ModelSnapshot, ModelSnapshot]:
        return self.history[-1]

    @property
    def next(self) -> NextOffsets:
        marker = self.now[0].marker
        return marker.next if marker is not None else {}

    def commit(self, next_offsets: NextOffsets) -> None:
        """A snapshot up to these watermarks; the dead letters are committed with it."""
        number = len(self.history)
        marker = self._marker(next_offsets, number)
        ends = {p: (max(n),) * len(LANES) for p, n in next_offsets.items()}
        dead = replace(marker, next=ends)
        self.history.append((ModelSnapshot(number, marker), ModelSnapshot(number, dead)))

    def commit_all(self) -> None:
        """A snapshot of all that the log holds."""
        self.commit({p: (self.log.end(p),) * len(LANES) for p in self.log.entries})

    def roll_back(self, commits: int) -> None:
        del self.history[max(1, len(self.history) - commits) :]

    def seed_rows(self, lake: ModelSnapshot, starts: NextOffsets) -> Iterable[pa.RecordBatch]:
        """All remembered rows, newest first: the order must not matter."""
        assert lake.marker is not None
        raw = RawBatch()
        for partition, offsets in lake.marker.next.items():
            for offset, event in reversed(self.log.kept(partition)):
                if min(starts[partition]) <= offset < max(offsets):
                    raw.partitions.append(partition)
                    raw.offsets.append(offset)
                    raw.timestamps_us.append(event.timestamp_us)
                    raw.keys.append(None)
                    raw.values.append(event.value())
        return [Decoder(DEFINITION).decode(raw).rows]

    def _marker(self, next_offsets: NextOffsets, number: int) -> Marker:
        return Marker(
            topic=self.log.topic,
            topic_id=self.log.topic_id,
            epoch=1,
            commit_id=f"commit-{number}",
            next=next_offsets,
            remembered={
                p: tuple(self._remembered(p, lane, offsets[lane]) for lane in LANES)
                for p, offsets in next_offsets.items()
            },
            rows=0,
            dead_letters=0,
            tombstones=0,
            duplicates=0,
            schema_id=0,
            rules_digest=DEFINITION.rules_digest,
        )

    def _remembered(self, partition: int, lane: int, next_offset: int) -> Remembered:
        window = DuplicateWindow(
            DEFINITION.duplicate_window_us, DEFINITION.duplicate_rows, CLOCK_START_US
        )
        for offset, entry in self.log.kept(partition):
            if entry.lane == lane and offset < next_offset:
                window.append([entry.id], np.array([entry.timestamp_us]), np.array([offset]))
        return window.remembered(next_offset)


Row = tuple[int, int, str, int]  # partition, offset, id, timestamp


def expected_rows(log: ModelLog, below: Mapping[int, tuple[int, ...]]) -> list[Row]:
    """The log's prefix below these watermarks."""
    return sorted(
        (p, offset, event.id, event.timestamp_us)
        for p in log.entries
        for offset, event in log.kept(p)
        if offset < below.get(p, (0,) * len(LANES))[event.lane]
    )


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[Row]:
    """The rows of the tail."""
    return sorted(
        (p, o, i, int(at.timestamp() * 1e6 + 0.5))
        for batch in batches
        for p, o, i, at in zip(
            *(batch.column(c).to_pylist() for c in (PARTITION, OFFSET, "id", "at")), strict=True
        )
    )


def check(view: View[ModelSnapshot], log: ModelLog) -> None:
    """The view is the log's prefix up to its cut: each row once, whatever the seam."""
    below = view.marker.next if view.marker is not None else {}
    assert sorted(expected_rows(log, below) + rows_of(view.tail)) == expected_rows(log, view.cut)

    dead_below = view.dead.marker.next if view.dead is not None and view.dead.marker else {}
    tail = [
        (p, o)
        for batch in view.dead_tail
        for p, o in zip(*(batch.column(c).to_pylist() for c in (PARTITION, OFFSET)), strict=True)
    ]
    for partition in log.entries:
        cut = view.dead_cut(partition)
        lake = [o for o in log.rejects(partition) if o < dead_below.get(partition, (0,))[0]]
        found = [o for o in lake if o < cut] + [o for p, o in tail if p == partition]
        assert sorted(found) == [o for o in log.rejects(partition) if o < cut]


@dataclass
class Server:
    """Follower and keeper of one server over a model log, stepped by hand."""

    log: ModelLog
    lake: ModelLake
    directory: Path
    clock: ManualClock = field(default_factory=ManualClock)
    boot_id: str = "boot-1"
    cap_bytes: int = 10**9
    limits: FollowerLimits = field(default_factory=lambda: FollowerLimits(poll_messages=5))
    conditions: Health = NO_HEALTH

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A fresh process on the directory that is there."""
        self.source = ModelSource(self.log)
        self.publisher: ViewPublisher[ModelSnapshot] = ViewPublisher(
            self.clock, DEFINITION.rules_digest, FreshnessLimits(lag_messages=3)
        )
        self.files = TailFiles(self.directory, DEFINITION, self.boot_id, self.cap_bytes)
        health = LogHealth()
        self.follower = Follower(
            DEFINITION,
            self.source,
            Decoder(DEFINITION),
            self.publisher,
            self.files,
            self.lake.seed_rows,
            self.clock,
            health,
            self.limits,
            SMALL,
        )
        self.keeper = Keeper(
            ModelSource(self.log),
            self.publisher,
            self.files,
            self.clock,
            health,
            KeeperLimits(),
            self.conditions,
        )

    def step(self, count: int = 1, pause_s: float = 0.0) -> None:
        """Both threads in turn, `pause_s` apart."""
        for _ in range(count):
            self.follower.step()
            self.keeper.step()
            self.clock.now_s += pause_s

    def seal_all(self) -> None:
        """Seal whatever is open."""
        while self.keeper.seal(everything=True):
            pass

    def refresh(self) -> None:
        self.publisher.on_lake(*self.lake.now)

    def view(self) -> View[ModelSnapshot] | None:
        try:
            return self.publisher.current()
        except UnavailableError:
            return None

    def settle(self, rounds: int = 200) -> View[ModelSnapshot]:
        """Follow until the view reaches the log's end."""
        for _ in range(rounds):
            self.refresh()
            self.follower.step()
            self.keeper.step()
            self.clock.now_s += 0.3
            view = self.view()
            if view is not None and all(
                min(view.cut.get(p, (0,))) >= self.log.end(p) for p in self.log.entries
            ):
                return view
        raise AssertionError(f"not at the log's end: {self.publisher.restart_wanted()!r}")
