"""A log in memory, and a reader of it: batches, control records, faults as told.

The reader passes the suite that the real one passes (tests/ports), or a simulation over it would
prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.errors import OperatorError, UnavailableError
from contract.log import Fetched, LogProblem, RawBatch, Trouble
from ingest.ports import TopicState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Message:
    """One message; None in its place in the log is a control record."""

    value: bytes | None
    timestamp_us: int = 1_700_000_000_000_000
    key: bytes | None = None


@dataclass
class Log:
    """What the broker holds. It outlives the readers."""

    topic: str = "trades"
    topic_id: str = "topic-1"
    partitions: dict[int, list[Message | None]] = field(default_factory=lambda: {0: []})
    low: dict[int, int] = field(default_factory=dict)
    lost_from: dict[int, int] = field(default_factory=dict)  # truncated: no longer in the log
    down: bool = False

    def end(self, partition: int) -> int:
        """The offset behind the last message that is there."""
        held = len(self.partitions.get(partition, ()))
        return min(held, self.lost_from.get(partition, held))

    def append(self, partition: int, *messages: Message | None) -> None:
        """Produce."""
        self.partitions.setdefault(partition, []).extend(messages)

    def delete_before(self, partition: int, offset: int) -> None:
        """Retention."""
        self.low[partition] = offset

    def truncate(self, partition: int, end: int) -> None:
        """Lose everything from this offset on, for good: nothing may be produced there again."""
        self.lost_from[partition] = end

    def recreate(self) -> None:
        """Delete the topic and make it again, empty."""
        self.topic_id += "+"
        self.partitions = {p: [] for p in self.partitions}
        self.low = {}
        self.lost_from = {}

    def look(self) -> TopicState:
        """See `ingest.ports.TopicLook`."""
        if self.down:
            raise UnavailableError("the broker does not answer")
        if not self.partitions:
            raise OperatorError("topic does not exist")
        return TopicState(self.topic_id, tuple(sorted(self.partitions)))


class ScriptedLog:
    """`IngestLog` over a `Log`. Takes one partition after another, `max_messages` in all."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.topic = log.topic
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()
        self.hints: list[dict[int, int]] = []
        self.problems: list[LogProblem] = []
        self.redeliver = 0  # how many offsets the next poll goes back
        self.closed = False
        self._refused: set[int] = set()
        self.aware = True  # whether poll notices that the topic was made again
        self._topic_id = ""

    def topic_id(self) -> str:
        """See `LogSource`, as for the other methods."""
        return self.log.look().topic_id

    def partitions(self) -> list[int]:
        """See `LogSource`."""
        return list(self.log.look().partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        """See `LogSource`."""
        self.log.look()
        return self.log.low.get(partition, 0), self.log.end(partition)

    def assign(self, next_offsets: Mapping[int, int], topic_id: str) -> None:
        """See `LogSource`."""
        self._topic_id = topic_id
        self.positions = dict(next_offsets)
        self.paused.clear()
        self._refused.clear()

    def poll(self, max_messages: int, timeout_s: float) -> Fetched:  # noqa: ARG002
        """See `LogSource`; never waits."""
        batch, positions = RawBatch(), {}
        problems, self.problems = self.problems, []
        if self.log.down:
            down = LogProblem(Trouble.TRANSIENT, "all brokers are down")
            return Fetched(batch, {}, (*problems, down))
        if self.aware and self.log.topic_id != self._topic_id:
            replaced = LogProblem(Trouble.REPLACED, "it was made again")
            return Fetched(batch, {}, (*problems, replaced))
        for partition in sorted(set(self.positions) - self.paused - self._refused):
            if not self._in_range(partition):
                self._refused.add(partition)
                problems.append(LogProblem(Trouble.OUT_OF_RANGE, "out of range", partition))
                continue
            before = self.positions[partition]
            self._fetch(partition, batch, max_messages)
            if self.positions[partition] != before:
                positions[partition] = self.positions[partition]
        self.redeliver = 0
        return Fetched(batch, positions, tuple(problems))

    def pause(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self.paused.update(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self.paused.difference_update(partitions)

    def refuse(self, partition: int) -> None:
        """Report the position of that partition as out of range, whether it is or not."""
        self._refused.add(partition)
        self.problems.append(LogProblem(Trouble.OUT_OF_RANGE, "out of range", partition))

    def close(self) -> None:
        """See `LogSource`."""
        self.closed = True

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """See `IngestLog`."""
        return {p: self.log.end(p) for p in partitions if p in self.log.partitions}

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        """See `IngestLog`."""
        self.hints.append(dict(next_offsets))

    def _in_range(self, partition: int) -> bool:
        low = self.log.low.get(partition, 0)
        return low <= self.positions[partition] <= self.log.end(partition)

    def _fetch(self, partition: int, batch: RawBatch, max_messages: int) -> None:
        low = self.log.low.get(partition, 0)
        offset = max(low, self.positions[partition] - self.redeliver)
        for message in self.log.partitions[partition][offset : self.log.end(partition)]:
            if message is not None:
                if len(batch) >= max_messages:
                    break
                batch.partitions.append(partition)
                batch.offsets.append(offset)
                batch.timestamps_us.append(message.timestamp_us)
                batch.keys.append(message.key)
                batch.values.append(message.value)
            offset += 1
        self.positions[partition] = max(offset, self.positions[partition])
