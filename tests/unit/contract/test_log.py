"""Reading a log: what a client gives becomes values; and the reader on librdkafka's mock cluster.

The mock cluster is real client code against a broker inside librdkafka. It describes no topics
and knows no transactions: those need the real broker of the integration tests.
"""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from contract.client_log import ClientLog
from contract.client_settings import consumer_settings
from contract.errors import OperatorError, UnavailableError
from contract.log import Fetched, LogProblem, Trouble, collect
from contract.log_reader import Clients, LogReader
from contract.table import TIMESTAMP_RANGE_US

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 20.0
SILENT = logging.getLogger("silent")
SILENT.disabled = True


class Message(NamedTuple):
    """What `confluent_kafka.Message` answers, as far as it is asked."""

    part: int | None
    at: int | None
    failed: KafkaError | None = None
    ms: int = 5
    named: bytes | None = None
    text: bytes | None = b"v"

    def partition(self) -> int | None:
        return self.part

    def offset(self) -> int | None:
        return self.at

    def error(self) -> KafkaError | None:
        return self.failed

    def timestamp(self) -> tuple[int, int]:
        return (1, self.ms)

    def key(self) -> bytes | None:
        return self.named

    def value(self) -> bytes | None:
        return self.text


def failed(code: int, part: int | None = 0, at: int | None = None) -> Message:
    return Message(part, at, KafkaError(code, "in the client's words"))


def end(part: int, at: int) -> Message:
    return failed(KafkaError._PARTITION_EOF, part, at)


# --- collect --------------------------------------------------------------------------------


def test_messages_become_parallel_lists_and_positions_behind_them() -> None:
    fetched = collect([Message(1, 7, named=b"k"), Message(0, 3, text=None), Message(1, 9, ms=8)])

    batch = fetched.messages
    assert (batch.partitions, batch.offsets) == ([1, 0, 1], [7, 3, 9])
    assert batch.timestamps_us == [5_000, 5_000, 8_000]
    assert (batch.keys, batch.values) == ([b"k", None, None], [b"v", None, b"v"])
    assert fetched.positions == {1: 10, 0: 4}
    assert fetched.problems == ()
    assert len(batch) == 3


def test_nothing_gives_nothing() -> None:
    assert collect([]) == Fetched(collect([]).messages, {})
    assert len(collect([]).messages) == 0


def test_the_end_of_a_partition_tells_the_position_behind_control_records() -> None:
    fetched = collect([Message(0, 3), end(0, 6), end(1, 0), Message(2, 5), end(2, 4)])

    assert fetched.messages.offsets == [3, 5]
    assert fetched.positions == {0: 6, 1: 0, 2: 6}
    assert fetched.problems == ()


@pytest.mark.parametrize(
    ("ms", "us"),
    [
        (-1, 0),
        (0, 0),
        (1, 1_000),
        (2**63 - 1, TIMESTAMP_RANGE_US[1] // 1000 * 1000),
        (-(2**63), 0),
    ],
)
def test_any_timestamp_of_a_producer_becomes_one_that_can_be_stored(ms: int, us: int) -> None:
    assert collect([Message(0, 0, ms=ms)]).messages.timestamps_us == [us]


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (KafkaError.OFFSET_OUT_OF_RANGE, Trouble.OUT_OF_RANGE),
        (KafkaError._AUTO_OFFSET_RESET, Trouble.OUT_OF_RANGE),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Trouble.GONE),
        (KafkaError._UNKNOWN_TOPIC, Trouble.GONE),
        (KafkaError._UNKNOWN_PARTITION, Trouble.GONE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Trouble.GONE),
        (KafkaError._ALL_BROKERS_DOWN, Trouble.TRANSIENT),
        (KafkaError._TRANSPORT, Trouble.TRANSIENT),
    ],
)
def test_a_problem_is_a_value_of_the_kind_that_decides_what_to_do(
    code: int, trouble: Trouble
) -> None:
    fetched = collect([Message(0, 3), failed(code, part=2), failed(code, part=None)])

    words = "in the client's words"
    assert fetched.problems == (LogProblem(trouble, words, 2), LogProblem(trouble, words, None))
    assert fetched.positions == {0: 4}


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["message", "hole", "end", "bad"]))))
def test_positions_are_the_next_offsets_of_any_log(events: list[tuple[int, str]]) -> None:
    position = dict.fromkeys(range(3), 0)
    moved: set[int] = set()
    given_messages = []
    for partition, kind in events:
        if kind == "hole":
            position[partition] += 1
            continue
        if kind == "bad":
            given_messages.append(failed(KafkaError._TRANSPORT, partition))
            continue
        moved.add(partition)
        if kind == "end":
            given_messages.append(end(partition, position[partition]))
        else:
            given_messages.append(Message(partition, position[partition]))
            position[partition] += 1
    ends = [*given_messages, *(end(p, position[p]) for p in moved)]

    fetched = collect(ends)

    assert fetched.positions == {p: position[p] for p in moved}
    assert len(fetched.messages) == sum(kind == "message" for _, kind in events)
    assert len(fetched.problems) == sum(kind == "bad" for _, kind in events)


# --- the reader on the mock cluster -----------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Producer, str]]:
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=DEADLINE_S).brokers.values()))
    yield producer, f"{broker.host}:{broker.port}"
    producer.flush(DEADLINE_S)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def reader(cluster: tuple[Producer, str], topic: str) -> Iterator[LogReader]:
    said = ClientLog(SILENT)
    consumer = Consumer(consumer_settings(cluster[1], topic), logger=said)
    reader = LogReader(Clients(lambda: (consumer, said), no_admin), TopicPartition, list, topic)
    yield reader
    reader.close()


def assign(reader: LogReader, next_offsets: dict[int, int]) -> None:
    """Of the topic as it is now: the mock cluster tells its id to consumers only."""
    reader.assign(next_offsets, "unknown")
    found = poll_until(reader, lambda all_of: any(one.problems for one in all_of))[-1].problems[-1]
    match = re.search(r"its id is (\S+),", found.text)
    assert match is not None
    reader.assign(next_offsets, match[1])


def produce(cluster: tuple[Producer, str], topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        cluster[0].produce(topic, value, key=b"k", partition=partition, timestamp=1_234)
    assert cluster[0].flush(DEADLINE_S) == 0


def poll_until(reader: LogReader, wanted: Any) -> list[Fetched]:
    fetched: list[Fetched] = []
    deadline = time.monotonic() + DEADLINE_S
    while not wanted(fetched):
        assert time.monotonic() < deadline, fetched
        fetched.append(reader.poll(100, 0.2))
    return fetched


def no_admin() -> None:
    """For readers that never ask for the topic."""


def values_of(fetched: list[Fetched]) -> list[bytes | None]:
    return [value for one in fetched for value in one.messages.values]


def at_end(position: int, partition: int = 0) -> Any:
    return lambda all_of: any(one.positions.get(partition) == position for one in all_of)


def test_a_log_is_read_from_the_given_offset_to_its_end(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a", b"b", b"c")
    assign(reader, {0: 1})

    fetched = poll_until(reader, at_end(3))

    batches = [one.messages for one in fetched if len(one.messages)]
    assert values_of(fetched) == [b"b", b"c"]
    assert [o for b in batches for o in b.offsets] == [1, 2]
    assert {k for b in batches for k in b.keys} == {b"k"}
    assert {t for b in batches for t in b.timestamps_us} == {1_234_000}
    assert reader.bounds(0) == (0, 3)


def test_an_empty_partition_tells_where_it_ends(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"elsewhere", partition=1)
    assign(reader, {0: 0})

    fetched = poll_until(reader, at_end(0))

    assert values_of(fetched) == []
    assert reader.bounds(0) == (0, 0)


def test_a_new_assignment_replaces_the_old_one(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a", b"b")
    assign(reader, {0: 0})
    poll_until(reader, at_end(2))
    assign(reader, {0: 1})

    fetched = poll_until(reader, at_end(2))

    assert values_of(fetched) == [b"b"]


def test_a_position_beyond_the_log_is_a_problem_and_never_a_reset(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a")
    assign(reader, {0: 77})

    fetched = poll_until(reader, lambda all_of: any(one.problems for one in all_of))

    problem = next(one.problems[0] for one in fetched if one.problems)
    assert (problem.trouble, problem.partition) == (Trouble.OUT_OF_RANGE, 0)
    assert values_of(fetched) == []
    assert all(0 not in one.positions for one in fetched)


def test_no_message_is_given_of_a_topic_with_another_id(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a")
    reader.assign({0: 0}, "the-old-id")

    fetched = poll_until(reader, lambda all_of: sum(bool(one.problems) for one in all_of) == 3)

    assert values_of(fetched) == []
    assert all(not one.positions for one in fetched)
    assert {p.trouble for one in fetched for p in one.problems} == {Trouble.REPLACED}
    assign(reader, {0: 0})
    assert values_of(poll_until(reader, at_end(1))) == [b"a"]


def test_a_client_that_does_not_say_what_it_reads_is_not_believed(
    cluster: tuple[Producer, str], topic: str
) -> None:
    produce(cluster, topic, b"a")
    settings = consumer_settings(cluster[1], topic)
    del settings["debug"]
    consumer = Consumer({**settings, "log_level": 0})
    reader = LogReader(
        Clients(lambda: (consumer, ClientLog(SILENT)), no_admin), TopicPartition, list, topic
    )
    reader.assign({0: 0}, "any")

    with pytest.raises(OperatorError, match=r"does not say which id it has: use Kafka 3\.1"):
        poll_until(reader, lambda all_of: values_of(all_of))

    reader.close()


def test_a_paused_partition_waits_while_the_others_go_on(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a0")
    produce(cluster, topic, b"a1", partition=1)
    assign(reader, {0: 0, 1: 0})
    poll_until(reader, lambda all_of: len(values_of(all_of)) == 2)
    reader.pause([0])
    produce(cluster, topic, b"b0")
    produce(cluster, topic, b"b1", partition=1)

    paused = poll_until(reader, lambda all_of: b"b1" in values_of(all_of))
    reader.resume([0])
    resumed = poll_until(reader, lambda all_of: b"b0" in values_of(all_of))

    assert values_of(paused) == [b"b1"]
    assert values_of(resumed) == [b"b0"]


def test_the_bounds_of_a_missing_partition_are_unavailable(
    cluster: tuple[Producer, str], reader: LogReader, topic: str
) -> None:
    produce(cluster, topic, b"a")

    with pytest.raises(UnavailableError, match=r"the broker does not answer: .*artition"):
        reader.bounds(9_999)


# --- describing the topic ---------------------------------------------------------------------


class Admin:
    """Answers as an AdminClient does: with a future per topic."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def describe_topics(self, topics: list[str], request_timeout: float) -> dict[str, Any]:
        future: Future[object] = Future()
        if isinstance(self._answer, Exception):
            future.set_exception(self._answer)
        else:
            future.set_result(self._answer)
        return dict.fromkeys(topics, future)


def described(answer: object) -> LogReader:
    return LogReader(
        Clients(lambda: (None, ClientLog(SILENT)), lambda: Admin(answer)),
        TopicPartition,
        list,
        "trades",
    )


def test_id_and_partitions_are_those_of_the_description() -> None:
    parts = [SimpleNamespace(id=2), SimpleNamespace(id=0), SimpleNamespace(id=1)]
    reader = described(SimpleNamespace(topic_id="abc", partitions=parts))

    assert reader.topic_id() == "abc"
    assert reader.partitions() == [0, 1, 2]


def test_a_missing_topic_is_for_the_operator() -> None:
    gone = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    with pytest.raises(OperatorError, match="topic 'trades' does not exist: create it"):
        described(gone).topic_id()


@pytest.mark.parametrize(
    "error",
    [
        KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)),
        TimeoutError(),
        TimeoutError("late"),
    ],
)
def test_a_silent_broker_is_unavailable(error: Exception) -> None:
    with pytest.raises(UnavailableError, match=r"the broker does not answer: \w"):
        described(error).partitions()


class StuckConsumer:
    """A client that fetches nothing any more until its partitions are assigned anew."""

    def __init__(self) -> None:
        self.assigned: list[list[TopicPartition]] = []
        self.answers: list[list[Message]] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned.append(partitions)

    def consume(self, _count: int, _timeout_s: float) -> list[Message]:
        return self.answers.pop(0) if self.answers else []

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Nothing is fetched anyway."""

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Nothing is fetched anyway."""


def a_stuck_reader() -> tuple[LogReader, StuckConsumer]:
    consumer = StuckConsumer()
    said = ClientLog(SILENT)
    said.log(logging.DEBUG, "Topic t changed id from 0 to its-id")
    reader = LogReader(Clients(lambda: (consumer, said), no_admin), TopicPartition, list, "t")
    reader.assign({0: 5, 1: 7}, "its-id")
    return reader, consumer


def polled(reader: LogReader, seconds: int) -> None:
    for _ in range(seconds * 2):
        reader.poll(10, 0.5)


def test_a_reader_to_which_nothing_comes_starts_afresh_where_it_stands() -> None:
    reader, consumer = a_stuck_reader()
    consumer.answers = [[end(0, 9)]]
    reader.poll(10, 0.5)
    polled(reader, 9)
    assert len(consumer.assigned) == 1
    polled(reader, 1)

    assert [(p.partition, p.offset) for p in consumer.assigned[-1]] == [(0, 9), (1, 7)]
    assert len(consumer.assigned) == 2
    polled(reader, 10)
    assert len(consumer.assigned) == 3


def test_silence_of_paused_partitions_is_no_reason_to_start_afresh() -> None:
    reader, consumer = a_stuck_reader()
    reader.pause([0, 1])
    polled(reader, 30)
    assert len(consumer.assigned) == 1
    reader.resume([0, 1])
    polled(reader, 10)

    assert len(consumer.assigned) == 2


@pytest.mark.parametrize(
    ("answers", "left"),
    [(["there"], True), (["nothing", "there"], True), (["nothing", "nothing"], False)],
    ids=["broker there", "broker there, admin client deaf", "broker away"],
)
def test_a_client_that_stays_silent_is_left_for_a_new_one_while_the_broker_answers(
    answers: list[str], left: bool
) -> None:
    _, consumer = a_stuck_reader()
    there = SimpleNamespace(topic_id="its-id", partitions=[])
    fresh = StuckConsumer()
    consumers = iter([consumer, fresh])
    admins = iter([Admin(there if a == "there" else TimeoutError()) for a in answers + answers])
    clients = Clients(lambda: (next(consumers), ClientLog(SILENT)), lambda: next(admins))
    reader = LogReader(clients, TopicPartition, list, "t")
    reader.assign({0: 5}, "its-id")
    polled(reader, 10)
    assert not fresh.assigned
    polled(reader, 10)

    assert bool(fresh.assigned) is left


def test_an_admin_client_that_gave_no_answer_is_not_asked_again() -> None:
    there = SimpleNamespace(topic_id="its-id", partitions=[])
    admins = iter([Admin(TimeoutError()), Admin(there)])
    reader = LogReader(
        Clients(lambda: (None, ClientLog(SILENT)), lambda: next(admins)), TopicPartition, list, "t"
    )
    with pytest.raises(UnavailableError):
        reader.topic_id()

    assert reader.topic_id() == "its-id"


def test_a_client_that_is_only_asked_is_left_when_it_does_not_answer_and_the_broker_does() -> None:
    class Deaf:
        def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
            raise TimeoutError

    class Answers(Deaf):
        def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
            return 3, 9

    consumers = iter([Deaf(), Answers()])
    there = SimpleNamespace(topic_id="its-id", partitions=[])
    clients = Clients(lambda: (next(consumers), ClientLog(SILENT)), lambda: Admin(there))
    reader = LogReader(clients, TopicPartition, list, "t")
    with pytest.raises(UnavailableError):
        reader.bounds(0)

    assert reader.bounds(0) == (3, 9)


def test_a_client_that_says_where_the_log_ends_is_kept() -> None:
    reader, consumer = a_stuck_reader()
    reader._clients = Clients(lambda: pytest.fail("it works"), no_admin)
    for _ in range(5):
        polled(reader, 10)
        consumer.answers = [[end(0, 5)]]
        reader.poll(10, 0.5)

    assert len(consumer.assigned) == 6
