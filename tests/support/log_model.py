"""A log in memory that says what it means: rows by lane, duplicates, rejects, holes.

The expected outcome is computed message by message from the rule as it is written in
`contract.duplicates`, not from its vectorised form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.definition import parse_definition
from contract.duplicates import CLOCK_START_US
from contract.errors import OperatorError, UnavailableError
from contract.log import Fetched, LogProblem, RawBatch, Trouble
from contract.table import Lane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFINITION = parse_definition(
    """
name = "events"
topic = "events"
message_id = "id"
event_time = "at"
columns = [
    {name = "id", type = "string", required = true},
    {name = "kind", type = "string", required = true},
    {name = "at", type = "timestamp", required = true},
    {name = "price", type = "decimal(18,8)"},
    {name = "tags", type = "list<string>"},
]
lanes = [
    {lane = "HIGH", column = "kind", in = ["high"]},
    {lane = "LOW", column = "kind", in = ["low"]},
]

[duplicates]
window_s = 0.00002
remembered_rows = 4
""",
    source="the model",
)
KINDS = {Lane.HIGH: "high", Lane.MEDIUM: "medium", Lane.LOW: "low"}


class ManualClock:
    """Time that moves when it is told to, and by sleeping."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


@dataclass(frozen=True)
class Event:
    """A message that can be decoded."""

    id: str
    lane: Lane
    timestamp_us: int

    def value(self) -> bytes:
        price = f"{len(self.id)}.5"
        return json.dumps(
            {"id": self.id, "kind": KINDS[self.lane], "at": self.timestamp_us, "price": price}
        ).encode()


@dataclass(frozen=True)
class Poison:
    """A message that can't be decoded."""

    timestamp_us: int

    def value(self) -> bytes:
        return b'{"id": 7'


Entry = Event | Poison | None  # None: a control record, which no reader sees


@dataclass
class ModelLog:
    """What the broker holds; it outlives its readers."""

    topic: str = DEFINITION.topic
    topic_id: str = "topic-1"
    entries: dict[int, list[Entry]] = field(default_factory=lambda: {0: []})
    low: dict[int, int] = field(default_factory=dict)
    down: bool = False
    gone: bool = False
    now_us: int = 1_000_000

    def produce(self, partition: int, *entries: Entry) -> None:
        self.entries.setdefault(partition, []).extend(entries)

    def event(self, partition: int, event_id: str, lane: Lane = Lane.MEDIUM) -> None:
        """One event at the next microsecond."""
        self.now_us += 1
        self.produce(partition, Event(event_id, lane, self.now_us))

    def end(self, partition: int) -> int:
        return len(self.entries.get(partition, ()))

    def kept(self, partition: int) -> list[tuple[int, Event]]:
        """Offsets and events that are no duplicates, by the rule as it is written."""
        kept: dict[Lane, list[tuple[str, int]]] = {lane: [] for lane in Lane}
        clocks = dict.fromkeys(Lane, CLOCK_START_US)
        found = []
        for offset, entry in enumerate(self.entries[partition]):
            if not isinstance(entry, Event):
                continue
            clock = max(clocks[entry.lane], entry.timestamp_us)
            before = kept[entry.lane][-DEFINITION.duplicate_rows :]
            if any(
                i == entry.id and clock - c <= DEFINITION.duplicate_window_us for i, c in before
            ):
                continue
            clocks[entry.lane] = clock
            kept[entry.lane].append((entry.id, clock))
            found.append((offset, entry))
        return found

    def rejects(self, partition: int) -> list[int]:
        return [o for o, e in enumerate(self.entries[partition]) if isinstance(e, Poison)]


class ModelSource:
    """`LogSource` over a `ModelLog`: partitions in turn, `max_messages` in all."""

    def __init__(self, log: ModelLog) -> None:
        self.log = log
        self.topic = log.topic
        self.positions: dict[int, int] = {}
        self.problems: list[LogProblem] = []
        self.assigned: list[dict[int, int]] = []
        self._refused: set[int] = set()
        self._topic_id = ""

    def topic_id(self) -> str:
        self._answer()
        return self.log.topic_id

    def partitions(self) -> list[int]:
        self._answer()
        return sorted(self.log.entries)

    def bounds(self, partition: int) -> tuple[int, int]:
        self._answer()
        return self.log.low.get(partition, 0), self.log.end(partition)

    def assign(self, next_offsets: Mapping[int, int], topic_id: str) -> None:
        self._topic_id = topic_id
        self.positions = dict(next_offsets)
        self.assigned.append(dict(next_offsets))
        self._refused.clear()

    def poll(self, max_messages: int, timeout_s: float) -> Fetched:
        problems, self.problems = self.problems, []
        batch = RawBatch()
        if self.log.down:
            return Fetched(batch, {}, (LogProblem(Trouble.TRANSIENT, "all brokers are down"),))
        if self.log.topic_id != self._topic_id:
            return Fetched(batch, {}, (LogProblem(Trouble.REPLACED, "it was made again"),))
        moved: dict[int, int] = {}
        for partition in sorted(self.positions.keys() - self._refused):
            position = self.positions[partition]
            low, end = self.log.low.get(partition, 0), self.log.end(partition)
            if not low <= position <= end:
                self._refused.add(partition)
                problems.append(LogProblem(Trouble.OUT_OF_RANGE, "out of range", partition))
                continue
            self._fetch(partition, batch, max_messages)
            if self.positions[partition] != position:
                moved[partition] = self.positions[partition]
        return Fetched(batch, moved, tuple(problems))

    def pause(self, partitions: Sequence[int]) -> None:
        raise NotImplementedError

    def resume(self, partitions: Sequence[int]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.positions = {}

    def _answer(self) -> None:
        if self.log.down:
            raise UnavailableError("the broker does not answer")
        if self.log.gone:
            raise OperatorError("the topic does not exist")

    def _fetch(self, partition: int, batch: RawBatch, max_messages: int) -> None:
        offset = self.positions[partition]
        for entry in self.log.entries[partition][offset:]:
            if entry is not None:
                if len(batch) >= max_messages:
                    break
                batch.partitions.append(partition)
                batch.offsets.append(offset)
                batch.timestamps_us.append(entry.timestamp_us)
                batch.keys.append(None)
                batch.values.append(entry.value())
            offset += 1
        self.positions[partition] = offset
