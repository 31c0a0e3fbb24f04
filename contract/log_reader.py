"""A `LogSource` over the clients of confluent-kafka, also when they go deaf."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import HighwaterError, OperatorError, UnavailableError
from contract.log import GONE, Fetched, LogProblem, RawBatch, Trouble, collect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contract.client_log import ClientLog

_LOG = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 10.0
# Polls without anything for so long are answered with a fresh start from the same positions.
_SILENCE_S = 10.0
_CLIENTS_LEFT_MAX = 8  # each keeps its threads


@dataclass(frozen=True)
class Clients:
    """How clients are made: a `confluent_kafka.Consumer` with `consumer_settings` and its logger,
    and an `AdminClient`.
    """

    consumer: Callable[[], tuple[Any, ClientLog]]
    admin: Callable[[], Any]


class TopicInfo:
    """What a topic is, by an admin client, which threads may share."""

    def __init__(
        self, admin: Callable[[], Any], collection: Callable[..., Any], topic: str
    ) -> None:
        """`admin` makes a client."""
        self._make = admin
        self._collection = collection
        self._topic = topic
        self.admin = admin()

    def topic_id(self) -> str:
        """Its id. Raises OperatorError if there is no such topic, UnavailableError."""
        return str(self._described().topic_id)

    def partitions(self) -> list[int]:
        """Its partitions, ascending. Raises as `topic_id`."""
        return sorted(p.id for p in self._described().partitions)

    def _described(self) -> Any:
        wanted = self._collection([self._topic])
        try:
            futures = self.admin.describe_topics(wanted, request_timeout=_REQUEST_TIMEOUT_S)
            return futures[self._topic].result(_REQUEST_TIMEOUT_S)
        except Exception as error:
            code = getattr(error.args[0], "code", None) if error.args else None
            if code is not None and code() in GONE:
                raise OperatorError(
                    f"topic {self._topic!r} does not exist: create it, or name another"
                ) from error
            self.admin = self._make()
            raise UnavailableError(f"the broker does not answer: {_words(error)}") from error


class LogReader:
    """`LogSource` over a consumer of confluent-kafka, which is handed in.

    A client of librdkafka that hears of a cluster without brokers, as one says that is about to
    start or stop, forgets all that it knows and is deaf for ever (librdkafka's issue 5301). So
    partitions are assigned anew when nothing came for a while. A client that works then tells at
    least where the log ends; one that does not is left for a new one, unclosed, as closing may hang
    as well. An admin client that got no answer is replaced at once: that costs less than to find
    out why.

    `topic_partition`, `collection`: the client library's classes.
    """

    def __init__(
        self,
        clients: Clients,
        topic_partition: Callable[..., Any],
        collection: Callable[..., Any],
        topic: str,
    ) -> None:
        self._clients = clients
        self._left: list[Any] = []  # consumers that gave nothing any more
        self._consumer, self._said = clients.consumer()
        self._topic_partition = topic_partition
        self._info = TopicInfo(clients.admin, collection, topic)
        self.topic = topic
        self._topic_id = ""  # of the topic that is assigned
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._silent_s = 0.0
        self._silences = 0  # in a row, each answered with a new assignment

    def topic_id(self) -> str:
        """See `LogSource`. Raises OperatorError if there is no such topic."""
        return self._info.topic_id()

    def partitions(self) -> list[int]:
        """See `LogSource`."""
        return self._info.partitions()

    def bounds(self, partition: int) -> tuple[int, int]:
        """See `LogSource`."""
        where = self._topic_partition(self.topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(where, timeout=_REQUEST_TIMEOUT_S)
        except Exception as error:  # confluent_kafka.KafkaException, which is not imported here
            self._leave_idle_client()
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
        """A new client in place of one that says nothing although the broker answers another."""
        if self._silences >= 2 and len(self._left) < _CLIENTS_LEFT_MAX and self._answers():
            _LOG.warning("topic %s: the client gives nothing any more; a new goes on", self.topic)
            self._left.append(self._consumer)
            self._consumer, self._said = self._clients.consumer()

    def _leave_idle_client(self) -> None:
        """The same for one that reads nothing and is only asked."""
        if not self._positions and len(self._left) < _CLIENTS_LEFT_MAX and self._answers():
            self._left.append(self._consumer)
            self._consumer, self._said = self._clients.consumer()

    def _answers(self) -> bool:
        for _ in range(2):  # the first admin client may be as deaf
            try:
                self._info.topic_id()
            except UnavailableError:
                continue
            except HighwaterError:
                return False
            return True
        return False

    def _replaced(self, found: str) -> LogProblem:
        return LogProblem(
            Trouble.REPLACED,
            f"topic {self.topic!r} was deleted and made again: its id is {found}, messages of "
            f"{self._topic_id} were asked for",
        )


def _words(error: Exception) -> str:
    """What it says, also where it says nothing: a timeout of our own has no text."""
    return str(error) or f"no reply within {_REQUEST_TIMEOUT_S:g} s"
