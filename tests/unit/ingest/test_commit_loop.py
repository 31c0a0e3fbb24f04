"""The commit loop of one table: what it does with each outcome, and whom it yields to."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import OperatorError, UnavailableError
from contract.marker import Marker
from contract.table import DEAD_SCHEMA
from highwater.simulate.table import Fault, MemoryTable, Storage
from ingest.backoff import Backoff
from ingest.commit import FencedError, TableWriter, WriterParts
from ingest.ports import NOTHING_WRITTEN, Head
from ingest.stop import Stop
from tests.support.failpoints import HandClock


class Bench:
    """A table and a writer on it."""

    def __init__(self) -> None:
        self.storage = Storage(DEAD_SCHEMA)
        self.clock = HandClock()
        self.stop = Stop(self.clock, 10.0)
        self.calls: list[str] = []
        self.places: list[str] = []
        self._ids = count()
        self.writer = self.another()

    def another(self) -> TableWriter:
        """One more writer on the same table."""
        table = MemoryTable(self.storage, "dead", self.calls.append)
        backoff = Backoff(Random(7), 0.05, 1.0)
        ids = self._ids
        parts = WriterParts(lambda: f"c{next(ids)}", self.stop, backoff, self.places.append)
        return TableWriter(table, "dead", parts)

    def marker(self) -> Marker | None:
        """The one in the table."""
        return MemoryTable(self.storage).head().marker


def a_marker(next_offset: int, epoch: int = 1) -> Marker:
    return Marker("t", "id", epoch, "", {0: (next_offset,) * 3}, {}, 0, 0, 0, 0, 0, "rules")


def claim(writer: TableWriter) -> Marker:
    """Epoch one above what is there."""

    def make(head: Head) -> Marker:
        old = head.marker
        return a_marker(0) if old is None else replace(old, epoch=old.epoch + 1)

    return writer.claim(make)


def one_row(offset: int) -> pa.Table:
    row = {"topic": "t", "_partition": 0, "_offset": offset, "_timestamp": 0, "reason": "r"}
    return pa.Table.from_pylist([row], schema=DEAD_SCHEMA)


def commit(writer: TableWriter, next_offset: int) -> Marker:
    written = writer.write(one_row(next_offset - 1))
    return writer.commit(written, replace(writer.marker, next={0: (next_offset,) * 3}))


def test_a_commit_is_in_the_table_with_its_id() -> None:
    bench = Bench()
    claim(bench.writer)

    marker = commit(bench.writer, 1)

    assert bench.marker() == marker == bench.writer.marker
    assert marker.commit_id == "c1"


def test_the_places_of_failpoints_are_passed_in_order() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.places.clear()

    commit(bench.writer, 1)

    places = ["before_write", "after_write", "before_commit", "after_commit"]
    assert bench.places == [f"dead.{p}" for p in places]


@pytest.mark.parametrize("fault", list(Fault))
def test_one_fault_is_survived_without_loss_or_double(fault: Fault) -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.faults.append(fault)

    commit(bench.writer, 1)

    assert bench.storage.rows().column("_offset").to_pylist() == [0]
    assert bench.marker() == bench.writer.marker


def test_a_conflict_uses_the_files_that_are_written() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.faults.extend([Fault.FOREIGN, Fault.FOREIGN])

    commit(bench.writer, 1)

    assert bench.storage.written_files == 1
    assert bench.calls.count("commit") == 4  # the claim, two conflicts, one that landed


def test_an_unknown_commit_that_landed_is_not_sent_again() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.calls.clear()
    bench.storage.faults.append(Fault.LANDED)

    commit(bench.writer, 1)

    assert bench.calls == ["write", "head", "commit", "head"]


def test_an_unknown_commit_that_was_lost_is_sent_again_with_the_same_id() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.faults.append(Fault.LOST)

    assert commit(bench.writer, 1).commit_id == "c1"

    assert len(bench.storage.all()) == 2


def test_the_waits_between_attempts_grow_up_to_their_cap() -> None:
    bench = Bench()
    claim(bench.writer)
    start_s = bench.clock.now_s
    bench.storage.faults.extend([Fault.UNAVAILABLE] * 20)

    commit(bench.writer, 1)

    assert 8 < bench.clock.now_s - start_s < 17


def test_a_later_epoch_ends_the_older_writer() -> None:
    bench = Bench()
    claim(bench.writer)
    claim(bench.another())

    with pytest.raises(FencedError, match=r"took over table dead \(its epoch 2, ours 1\)"):
        commit(bench.writer, 1)

    assert bench.storage.rows().num_rows == 0


def test_a_table_that_was_rolled_back_is_not_written_on() -> None:
    bench = Bench()
    claim(bench.writer)
    commit(bench.writer, 1)
    commit(bench.writer, 2)
    bench.storage.head = bench.storage.all()[-2].snapshot_id

    with pytest.raises(OperatorError, match="changed from outside"):
        commit(bench.writer, 3)


def test_a_table_without_its_marker_is_not_written_on() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.snapshots.clear()
    bench.storage.properties.clear()
    bench.storage.head = None

    with pytest.raises(OperatorError, match="lost its marker"):
        commit(bench.writer, 1)


def test_a_foreign_commit_without_marker_in_between_does_no_harm() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.add(one_row(99), None)

    commit(bench.writer, 1)

    assert bench.storage.rows().column("_offset").to_pylist() == [99, 0]


def test_waiting_ends_with_the_time_that_stopping_leaves() -> None:
    bench = Bench()
    claim(bench.writer)
    bench.storage.faults.extend([Fault.UNAVAILABLE] * 1000)
    bench.stop.request()
    start_s = bench.clock.now_s

    with pytest.raises(UnavailableError, match="read again at the next start"):
        commit(bench.writer, 1)

    assert bench.clock.now_s - start_s < 11


@given(st.lists(st.sampled_from(list(Fault)), max_size=12), st.integers(1, 5))
def test_any_faults_leave_each_commit_once(faults: list[Fault], commits: int) -> None:
    bench = Bench()
    bench.storage.faults.extend(faults)

    claim(bench.writer)
    for i in range(commits):
        commit(bench.writer, i + 1)

    assert bench.storage.rows().column("_offset").to_pylist() == list(range(commits))
    assert bench.writer.marker.next_offset(0) == commits


def test_a_claim_that_meets_another_one_takes_the_epoch_above_it() -> None:
    bench = Bench()
    other = bench.another()
    first = True

    def make(head: Head) -> Marker:
        nonlocal first
        if first:  # somebody else claims between our look and our commit
            first = False
            claim(other)
        return a_marker(0, epoch=head.marker.epoch + 1 if head.marker else 1)

    claimed = bench.writer.claim(make)

    assert claimed.epoch == 2
    with pytest.raises(FencedError):
        other.commit(NOTHING_WRITTEN, other.marker)
