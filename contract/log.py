"""Reading one topic's log: messages as columns, positions that are right, problems as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from contract.table import TIMESTAMP_RANGE_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Messages as parallel lists, in log order within each partition."""

    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    timestamps_us: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        """How many messages."""
        return len(self.offsets)


class Trouble(Enum):
    """What kind of problem a log reports: a kind exists where the reader acts differently."""

    TRANSIENT = "transient"  # go on polling
    OUT_OF_RANGE = "out of range"  # the position is outside what the log holds
    GONE = "gone"  # the topic does not exist (any more), or may not be read
    REPLACED = "replaced"  # the topic was made again, or is not the one that was asked for


@dataclass(frozen=True, slots=True)
class LogProblem:
    """A problem, in the client library's own words."""

    trouble: Trouble
    text: str
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one poll brought.

    `positions`: for each partition that moved, the next offset to read after these messages. It
    is the fetch position: control records and compaction leave holes, so it may lie beyond the
    last message's offset + 1.
    """

    messages: RawBatch
    positions: Mapping[int, int]
    problems: tuple[LogProblem, ...] = ()


class LogSource(Protocol):
    """One topic's log, read from given positions. Used by one thread at a time."""

    topic: str

    def topic_id(self) -> str:
        """The topic's id, which changes when it is deleted and made again."""
        ...

    def partitions(self) -> list[int]:
        """The partitions that exist now, ascending."""
        ...

    def bounds(self, partition: int) -> tuple[int, int]:
        """The log's first offset, and its end: the last stable one, if the reader is committed."""
        ...

    def assign(self, next_offsets: Mapping[int, int], topic_id: str) -> None:
        """Read these partitions of that topic from these offsets; replaces an earlier assignment.

        No poll gives a message of a topic with another id.
        """
        ...

    def poll(self, max_messages: int, timeout_s: float) -> Fetched:
        """The next messages: returns at `max_messages`, or after `timeout_s` with what is there."""
        ...

    def pause(self, partitions: Sequence[int]) -> None:
        """Stop fetching these partitions; positions stay."""
        ...

    def resume(self, partitions: Sequence[int]) -> None:
        """Fetch these partitions again."""
        ...

    def close(self) -> None:
        """Leave; no call is allowed afterwards."""
        ...


# librdkafka's error codes (rd_kafka_resp_err_t): stable numbers of its interface.
_PARTITION_EOF = -191
_OUT_OF_RANGE = {1, -140}  # OFFSET_OUT_OF_RANGE, _AUTO_OFFSET_RESET
GONE = {3, -188, -190, 29, 100}  # unknown topic or partition (local too), authorization, topic id

# A producer may put any 64-bit number there: the broker's check of it can be switched off.
_TIMESTAMP_MAX_MS = TIMESTAMP_RANGE_US[1] // 1000


def collect(messages: Sequence[Any]) -> Fetched:
    """Sort what a consumer gave into messages, positions and problems."""
    problems: list[LogProblem] = []
    positions: dict[int, int] = {}
    good = messages
    if any(m.error() for m in messages):
        good = [m for m in messages if not m.error()]
    batch = RawBatch(
        partitions=[m.partition() for m in good],
        offsets=[m.offset() for m in good],
        # 0: no timestamp in the message, -1 as its value
        timestamps_us=[min(max(m.timestamp()[1], 0), _TIMESTAMP_MAX_MS) * 1000 for m in good],
        keys=[m.key() for m in good],
        values=[m.value() for m in good],
    )
    positions.update(zip(batch.partitions, (o + 1 for o in batch.offsets), strict=True))
    if good is not messages:
        for message in messages:
            if error := message.error():
                _note(message, error, positions, problems)
    return Fetched(batch, positions, tuple(problems))


def _note(message: Any, error: Any, positions: dict[int, int], problems: list[LogProblem]) -> None:
    """An end of partition tells the position behind control records; all else is a problem."""
    code = error.code()
    partition = message.partition()
    if code == _PARTITION_EOF:
        positions[partition] = max(message.offset(), positions.get(partition, 0))
        return
    if code in _OUT_OF_RANGE:
        trouble = Trouble.OUT_OF_RANGE
    elif code in GONE:
        trouble = Trouble.GONE
    else:
        trouble = Trouble.TRANSIENT
    problems.append(LogProblem(trouble, error.str(), partition))  # None: of no partition
