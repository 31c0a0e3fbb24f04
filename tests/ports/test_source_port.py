"""The promises of the log ports, kept by the reader of a log in memory and by the real one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from contract.errors import HighwaterError, OperatorError
from contract.log import Fetched, RawBatch, Trouble
from tests.support.topics import DEADLINE_S, KafkaTopic, MemoryTopic, Topic, Value, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.log import LogProblem
    from ingest.ports import IngestLog
    from tests.support.broker import TopicFactory

AT_MS = 1_700_000_000_000


@pytest.fixture(params=["memory", "kafka"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[int], Topic]]:
    """`make(partitions)` gives an empty topic."""
    made: list[Topic] = []

    def topic(partitions: int) -> Topic:
        if request.param == "memory":
            made.append(MemoryTopic(partitions))
        else:
            new_topic: TopicFactory = request.getfixturevalue("new_topic")
            bootstrap: str = request.getfixturevalue("bootstrap")
            made.append(KafkaTopic(bootstrap, new_topic(partitions), partitions))
        return made[-1]

    yield topic
    for each in made:
        each.close()


@pytest.fixture
def topic(make: Callable[[int], Topic]) -> Topic:
    """An empty topic of one partition."""
    return make(1)


def values(count: int, first: int = 0) -> list[Value]:
    return [(b"k", f"v{i}".encode(), AT_MS + i) for i in range(first, first + count)]


def assigned(topic: Topic, next_offsets: dict[int, int]) -> IngestLog:
    log = topic.reader()
    log.assign(next_offsets, log.topic_id())
    return log


class Read:
    """All that polls gave: messages, newest positions, problems."""

    def __init__(self) -> None:
        self.messages = RawBatch()
        self.positions: dict[int, int] = {}
        self.problems: list[LogProblem] = []

    def take(self, fetched: Fetched) -> None:
        for mine, theirs in (
            (self.messages.partitions, fetched.messages.partitions),
            (self.messages.offsets, fetched.messages.offsets),
            (self.messages.timestamps_us, fetched.messages.timestamps_us),
        ):
            mine.extend(theirs)
        self.messages.keys.extend(fetched.messages.keys)
        self.messages.values.extend(fetched.messages.values)
        self.positions.update(fetched.positions)
        self.problems.extend(fetched.problems)


def read_until(log: IngestLog, holds: Callable[[Read], object], max_messages: int = 100) -> Read:
    read = Read()
    end = time.monotonic() + DEADLINE_S
    while not holds(read):
        assert time.monotonic() < end, (read.positions, read.problems)
        fetched = log.poll(max_messages, 0.05)
        assert len(fetched.messages) <= max_messages
        read.take(fetched)
    return read


def test_messages_come_in_order_with_all_that_they_hold(topic: Topic) -> None:
    topic.produce([(b"key", b"value", AT_MS), (None, None, AT_MS + 1), (None, b"", AT_MS + 2)])

    read = read_until(assigned(topic, {0: 0}), lambda r: r.positions.get(0) == 3)

    assert read.messages == RawBatch(
        [0, 0, 0],
        [0, 1, 2],
        [AT_MS * 1000, (AT_MS + 1) * 1000, (AT_MS + 2) * 1000],
        [b"key", None, None],
        [b"value", None, b""],
    )
    assert read.problems == []


def test_a_poll_gives_no_more_than_it_is_asked_for_and_the_next_one_goes_on(topic: Topic) -> None:
    topic.produce(values(10))

    read = read_until(assigned(topic, {0: 0}), lambda r: r.positions.get(0) == 10, max_messages=3)

    assert read.messages.offsets == list(range(10))


def test_reading_begins_at_the_offset_that_was_assigned(topic: Topic) -> None:
    topic.produce(values(10))

    read = read_until(assigned(topic, {0: 7}), lambda r: r.positions.get(0) == 10)

    assert read.messages.offsets == [7, 8, 9]


def test_another_assignment_replaces_the_first_one(topic: Topic) -> None:
    topic.produce(values(5))
    log = assigned(topic, {0: 0})
    read_until(log, lambda r: r.positions.get(0) == 5)

    log.assign({0: 3}, log.topic_id())

    read = read_until(log, lambda r: r.positions.get(0) == 5)
    assert read.messages.offsets == [3, 4]


def test_the_position_passes_control_records_at_the_end(topic: Topic) -> None:
    """The last message is at 2; offset 3 is the end of the transaction."""
    topic.transact(values(3), commit=True)

    read = read_until(assigned(topic, {0: 0}), lambda r: r.positions.get(0) == 4)

    assert read.messages.offsets == [0, 1, 2]


def test_messages_of_an_aborted_transaction_are_holes(topic: Topic) -> None:
    topic.produce(values(2))
    topic.transact(values(3, 100), commit=False)
    topic.produce(values(1, 2))

    read = read_until(assigned(topic, {0: 0}), lambda r: r.positions.get(0) == 7)

    assert read.messages.offsets == [0, 1, 6]
    assert read.messages.values == [b"v0", b"v1", b"v2"]


def test_a_log_that_ends_with_an_aborted_transaction_is_read_to_its_end(topic: Topic) -> None:
    topic.transact(values(3), commit=False)
    log = assigned(topic, {0: 0})

    read = read_until(log, lambda r: r.positions.get(0) == 4)

    assert read.messages.offsets == []
    assert log.bounds(0) == (0, 4)
    assert log.ends([0]) == {0: 4}


def test_nothing_comes_at_the_end_until_something_is_written(topic: Topic) -> None:
    topic.produce(values(2))
    log = assigned(topic, {0: 0})
    read_until(log, lambda r: r.positions.get(0) == 2)

    again = log.poll(10, 0.05)
    topic.produce(values(1, 2))
    more = read_until(log, lambda r: r.positions.get(0) == 3)

    assert len(again.messages) == 0
    assert again.positions.get(0, 2) == 2
    assert more.messages.offsets == [2]


def test_a_paused_partition_gives_nothing_and_loses_nothing(make: Callable[[int], Topic]) -> None:
    topic = make(2)
    topic.produce(values(3), partition=0)
    topic.produce(values(3), partition=1)
    log = assigned(topic, {0: 0, 1: 0})
    log.pause([0])

    other = read_until(log, lambda r: r.positions.get(1) == 3)
    log.resume([0])
    then = read_until(log, lambda r: r.positions.get(0) == 3)

    assert other.messages.partitions == [1, 1, 1]
    assert then.messages.partitions == [0, 0, 0]
    assert then.messages.offsets == [0, 1, 2]


def test_bounds_are_the_first_offset_and_the_end(topic: Topic) -> None:
    log = topic.reader()
    assert log.bounds(0) == (0, 0)

    topic.produce(values(6))
    topic.delete_before(2)

    wait_until(lambda: log.bounds(0) == (2, 6))


def test_a_position_above_the_end_is_out_of_range_and_the_partition_waits(topic: Topic) -> None:
    topic.produce(values(3))
    log = assigned(topic, {0: 9})

    read = read_until(log, lambda r: r.problems)
    assert [(p.trouble, p.partition) for p in read.problems] == [(Trouble.OUT_OF_RANGE, 0)]
    assert read.messages.offsets == []
    log.assign({0: 1}, log.topic_id())

    assert read_until(log, lambda r: r.positions.get(0) == 3).messages.offsets == [1, 2]


def test_a_position_that_retention_has_passed_is_out_of_range(topic: Topic) -> None:
    topic.produce(values(6))
    topic.delete_before(4)
    log = topic.reader()
    wait_until(lambda: log.bounds(0) == (4, 6))
    log.assign({0: 1}, log.topic_id())

    read = read_until(log, lambda r: r.problems)

    assert [(p.trouble, p.partition) for p in read.problems] == [(Trouble.OUT_OF_RANGE, 0)]
    assert read.messages.offsets == []


def test_a_partition_out_of_range_does_not_hold_up_the_others(
    make: Callable[[int], Topic],
) -> None:
    topic = make(2)
    topic.produce(values(3), partition=0)
    topic.produce(values(3), partition=1)
    log = assigned(topic, {0: 9, 1: 0})

    read = read_until(log, lambda r: r.problems and r.positions.get(1) == 3)

    assert read.messages.partitions == [1, 1, 1]


def test_new_partitions_are_listed_and_can_be_read(topic: Topic) -> None:
    log = topic.reader()
    assert log.partitions() == [0]

    topic.add_partition()
    wait_until(lambda: log.partitions() == [0, 1])
    topic.produce(values(2), partition=1)
    log.assign({0: 0, 1: 0}, log.topic_id())

    read = read_until(log, lambda r: r.positions.get(1) == 2)
    assert read.messages.partitions == [1, 1]


def test_a_topic_that_is_gone_is_for_the_operator(topic: Topic) -> None:
    log = topic.reader()
    log.topic_id()
    topic.delete()

    def refused() -> bool:
        try:
            log.topic_id()
        except OperatorError as error:
            return "does not exist" in str(error)
        except HighwaterError:
            return False
        return False

    wait_until(refused)
    with pytest.raises(OperatorError, match="does not exist"):
        log.partitions()


def test_a_topic_that_was_made_again_has_another_id_and_none_of_its_messages_come(
    topic: Topic,
) -> None:
    topic.produce(values(2))
    log = assigned(topic, {0: 0})
    before = log.topic_id()
    read_until(log, lambda r: r.positions.get(0) == 2)

    topic.recreate()
    topic.produce(values(5, 100))
    read = read_until(log, lambda r: any(p.trouble is Trouble.REPLACED for p in r.problems))

    assert log.topic_id() != before
    assert read.messages.offsets == []
    assert read.positions in ({}, {0: 2})  # the old topic's end may be told once more
