"""Reading one topic's log: messages as columns, positions that are right, problems as values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from contract.errors import HighwaterError, OperatorError, UnavailableError
from contract.table import TIMESTAMP_RANGE_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.client_log import ClientLog


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


_LOG = logging.getLogger(__name__)

# librdkafka's error codes (rd_kafka_resp_err_t): stable numbers of its interface.
_PARTITION_EOF = -191
_OUT_OF_RANGE = {1, -140}  # OFFSET_OUT_OF_RANGE, _AUTO_OFFSET_RESET
_GONE = {3, -188, -190, 29, 100}  # unknown topic or partition (local too), authorization, topic id
_REQUEST_TIMEOUT_S = 10.0
# Polls without anything for so long are answered with a fresh start from the same positions.
_SILENCE_S = 10.0
_CLIENTS_LEFT_MAX = 8  # each keeps its threads

# A producer may put any 64-bit number there: the broker's check of it can be switched off.
_TIMESTAMP_MAX_MS = TIMESTAMP_RANGE_US[1] // 1000


Renewed = Callable[[], "tuple[Any, ClientLog]"]


class LogReader:
    """`LogSource` over a consumer of confluent-kafka, which is handed in.

    librdkafka can leave partitions unfetched for ever after their broker came back. So they are
    assigned anew when nothing came for a while. A client that works then tells at least where the
    log ends; one that does not is left for a new one, unclosed, as closing may hang as well.

    `consumer`, `admin`: a `confluent_kafka.Consumer` made with `consumer_settings`, and an
    `AdminClient`. `topic_partition`, `collection`: the classes. `said`: the consumer's logger.
    """

    def __init__(
        self,
        consumer: Any,
        admin: Any,
        topic_partition: Callable[..., Any],
        collection: Callable[..., Any],
        topic: str,
        said: ClientLog,
        renewed: Renewed | None = None,
    ) -> None:
        """`renewed` makes another consumer like the first, and its logger."""
        self._renewed, self._left = renewed, list[Any]()  # how, and the clients that were left
        self._consumer = consumer
        self._admin = admin
        self._topic_partition = topic_partition
        self._collection = collection
        self.topic = topic
        self._said = said
        self._topic_id = ""  # of the topic that is assigned
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._silent_s = 0.0
        self._silences = 0  # in a row, each answered with a new assignment

    def topic_id(self) -> str:
        """See `LogSource`. Raises OperatorError if there is no such topic."""
        return str(self._describe().topic_id)

    def partitions(self) -> list[int]:
        """See `LogSource`."""
        return sorted(p.id for p in self._describe().partitions)

    def bounds(self, partition: int) -> tuple[int, int]:
        """See `LogSource`."""
        where = self._topic_partition(self.topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(where, timeout=_REQUEST_TIMEOUT_S)
        except Exception as error:  # confluent_kafka.KafkaException, which is not imported here
            raise UnavailableError(f"the broker does not answer: {_words(error)}") from error
        return int(low), int(high)

    def assign(self, next_offsets: Mapping[int, int], topic_id: str) -> None:
        """See `LogSource`."""
        self._topic_id = topic_id
        self._positions = dict(next_offsets)
        self._paused.clear()
        self._silent_s = 0.0
        self._consumer.assign(
            [self._topic_partition(self.topic, p, o) for p, o in sorted(next_offsets.items())]
        )

    def poll(self, max_messages: int, timeout_s: float) -> Fetched:
        """See `LogSource`. Raises OperatorError if the client does not say which topic it reads."""
        messages = self._consumer.consume(max_messages, timeout_s)
        found = self._said.topic_id(self.topic)
        fetched = collect(messages)
        if found and found != self._topic_id:
            return Fetched(RawBatch(), {}, (*fetched.problems, self._replaced(found)))
        if not found and fetched.positions:
            raise OperatorError(
                f"topic {self.topic!r} is read, but this Kafka client or broker does not say which "
                "id it has: use Kafka 3.1 or later, and the confluent-kafka of the requirements"
            )
        self._assign_after_silence(fetched, len(messages), timeout_s)
        return fetched

    def pause(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self._paused |= set(partitions)
        self._consumer.pause([self._topic_partition(self.topic, p) for p in partitions])

    def resume(self, partitions: Sequence[int]) -> None:
        """See `LogSource`."""
        self._paused -= set(partitions)
        self._consumer.resume([self._topic_partition(self.topic, p) for p in partitions])

    def close(self) -> None:
        """See `LogSource`."""
        self._consumer.close()

    def _assign_after_silence(self, fetched: Fetched, events: int, waited_s: float) -> None:
        self._positions |= fetched.positions
        self._silent_s = 0.0 if events or self._paused else self._silent_s + waited_s
        self._silences = 0 if events else self._silences
        if self._silent_s >= _SILENCE_S and self._positions:
            self._silences += 1
            self._leave_client()
            self.assign(self._positions, self._topic_id)

    def _leave_client(self) -> None:
        """A new client in place of one that says nothing although the broker answers."""
        if self._silences < 2 or self._renewed is None or len(self._left) >= _CLIENTS_LEFT_MAX:
            return
        try:
            self._describe()
        except HighwaterError:
            return
        _LOG.warning("topic %s: the client gives nothing any more; a new one goes on", self.topic)
        self._left.append(self._consumer)
        self._consumer, self._said = self._renewed()

    def _replaced(self, found: str) -> LogProblem:
        return LogProblem(
            Trouble.REPLACED,
            f"topic {self.topic!r} was deleted and made again: its id is {found}, messages of "
            f"{self._topic_id} were asked for",
        )

    def _describe(self) -> Any:
        wanted = self._collection([self.topic])
        try:
            futures = self._admin.describe_topics(wanted, request_timeout=_REQUEST_TIMEOUT_S)
            return futures[self.topic].result(_REQUEST_TIMEOUT_S)
        except Exception as error:
            code = getattr(error.args[0], "code", None) if error.args else None
            if code is not None and code() in _GONE:
                raise OperatorError(
                    f"topic {self.topic!r} does not exist: create it, or name another"
                ) from error
            raise UnavailableError(f"the broker does not answer: {_words(error)}") from error


def _words(error: Exception) -> str:
    """What it says, also where it says nothing: a timeout of our own has no text."""
    return str(error) or f"no reply within {_REQUEST_TIMEOUT_S:g} s"


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
    elif code in _GONE:
        trouble = Trouble.GONE
    else:
        trouble = Trouble.TRANSIENT
    problems.append(LogProblem(trouble, error.str(), partition))  # None: of no partition
