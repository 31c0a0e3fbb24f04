"""The duplicate rule against a model that reads the whole log row by row."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.duplicates import CLOCK_START_US, DuplicateFilter, DuplicateWindow, Remembered
from contract.marker import Marker
from contract.table import LANES, TIMESTAMP_RANGE_US
from tests.support.strategies import TRADES, stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


class Row(NamedTuple):
    message_id: str
    partition: int
    offset: int
    timestamp_us: int
    lane: int


@dataclass
class Model:
    """What the docstring of `contract.duplicates` says, with everything remembered for ever."""

    window_us: int
    remembered_rows: int
    kept: dict[tuple[int, int], list[tuple[str, int]]] = field(default_factory=dict)

    def keep(self, row: Row) -> bool:
        kept = self.kept.setdefault((row.partition, row.lane), [])
        clock_us = max(kept[-1][1] if kept else CLOCK_START_US, row.timestamp_us)
        for after, (message_id, kept_at_us) in enumerate(reversed(kept)):
            within = clock_us - kept_at_us <= self.window_us and after < self.remembered_rows
            if message_id == row.message_id and within:
                return False
        kept.append((row.message_id, clock_us))
        return True


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Rows of two partitions, interleaved; offsets with holes, clocks that jump both ways."""
    times = st.one_of(
        st.integers(0, 60),
        st.integers(0, 60),
        st.sampled_from([0, TIMESTAMP_RANGE_US[1], TIMESTAMP_RANGE_US[1] - 3]),
    )
    drift = draw(st.integers(0, 5))
    parts = draw(
        st.lists(
            st.tuples(
                st.text("abcde", min_size=1, max_size=1),
                st.integers(0, 1),
                st.integers(1, 3),
                times,
                st.integers(0, len(LANES) - 1) if draw(st.booleans()) else st.just(0),
            ),
            max_size=40,
        )
    )
    next_offset = {0: draw(st.integers(0, 9)), 1: 0}
    rows = []
    for i, (message_id, partition, step, time, lane) in enumerate(parts):
        us = min(time + i * drift, TIMESTAMP_RANGE_US[1])
        rows.append(Row(message_id, partition, next_offset[partition], us, lane))
        next_offset[partition] += step
    return rows


rules = st.tuples(st.sampled_from([0, 1, 5, 20, 10**9]), st.sampled_from([0, 1, 2, 3, 7, 1000]))


def filter_of(rule: tuple[int, int]) -> DuplicateFilter:
    window_us, remembered_rows = rule
    return DuplicateFilter(
        replace(TRADES, duplicate_window_us=window_us, duplicate_rows=remembered_rows)
    )


def batch(rows: Sequence[Row]) -> tuple[pa.RecordBatch, np.ndarray]:
    table = stored_rows(
        TRADES, [(r.message_id, r.partition, r.offset, r.timestamp_us) for r in rows]
    )
    return table, np.array([r.lane for r in rows], dtype=np.int8)


def keep_in_parts(rule: DuplicateFilter, rows: list[Row], cuts: list[int]) -> list[bool]:
    kept: list[bool] = []
    edges = [0, *sorted(c for c in cuts if c < len(rows)), len(rows)]
    for start, end in itertools.pairwise(edges):
        kept += rule.keep(*batch(rows[start:end])).tolist()
    return kept


def restarted(
    rule: tuple[int, int], before: DuplicateFilter, seen: list[Row], kept: list[bool], step: int
) -> DuplicateFilter:
    """A new process: the marker of the commit, then the rows of the lake since `from_offset`."""
    next_offsets = {
        p: max((r.offset + 1 for r in seen if r.partition == p), default=0) for p in (0, 1)
    }
    remembered = {p: before.remembered(p, (n,) * 3) for p, n in next_offsets.items()}
    lake = [
        row
        for row, was_kept in zip(seen, kept, strict=True)
        if was_kept and row.offset >= remembered[row.partition][row.lane].from_offset
    ]
    after = filter_of(rule)
    after.keep(*batch([Row("left over", 0, 0, 99, 0)]))  # `start` forgets what was there
    after.start(remembered)
    for i in range(0, len(lake), step):
        after.append(*batch(lake[i : i + step]))
    assert {p: after.remembered(p, (n,) * 3) for p, n in next_offsets.items()} == remembered
    return after


FAR = TIMESTAMP_RANGE_US[1]


@given(logs(), rules, st.lists(st.integers(0, 40), max_size=6))
@example([Row("a", 0, 0, 10, 0), Row("a", 0, 1, 15, 0), Row("a", 0, 2, 16, 0)], (5, 1000), [])
@example([Row("a", 0, 0, FAR, 0), Row("a", 0, 1, 0, 0), Row("b", 0, 2, 0, 0)], (5, 2), [1])
def test_the_rows_that_are_kept_are_those_of_the_model_in_any_batching(
    rows: list[Row], rule: tuple[int, int], cuts: list[int]
) -> None:
    model = Model(*rule)
    subject = filter_of(rule)

    kept = keep_in_parts(subject, rows, cuts)

    assert kept == [model.keep(row) for row in rows]
    assert subject.remembered_rows() <= rule[1] * 2 * len(LANES)


@given(logs(), rules, st.lists(st.integers(0, 40), max_size=4), st.data())
def test_a_restart_at_any_offset_goes_on_as_if_nothing_had_happened(
    rows: list[Row], rule: tuple[int, int], cuts: list[int], data: st.DataObject
) -> None:
    model = Model(*rule)
    expected = [model.keep(row) for row in rows]
    restarts = sorted(data.draw(st.lists(st.integers(0, len(rows)), min_size=1, max_size=4)))
    subject = filter_of(rule)
    kept: list[bool] = []

    for start, end in zip([0, *restarts], [*restarts, len(rows)], strict=True):
        kept += keep_in_parts(subject, rows[start:end], cuts)
        step = data.draw(st.integers(1, 10))
        subject = restarted(rule, subject, rows[:end], kept, step)

    assert kept == expected


@given(logs(), rules)
def test_each_lane_and_partition_is_judged_on_its_own(
    rows: list[Row], rule: tuple[int, int]
) -> None:
    together = filter_of(rule).keep(*batch(rows)).tolist()

    alone = dict.fromkeys(rows, False)
    for partition in (0, 1):
        for lane in LANES:
            some = [r for r in rows if (r.partition, r.lane) == (partition, lane)]
            alone.update(zip(some, filter_of(rule).keep(*batch(some)).tolist(), strict=True))

    assert together == [alone[row] for row in rows]


@given(logs(), rules)
def test_what_is_remembered_survives_the_marker(rows: list[Row], rule: tuple[int, int]) -> None:
    subject = filter_of(rule)
    subject.keep(*batch(rows))
    remembered = {p: subject.remembered(p, (99,) * 3) for p in (0, 1)}
    marker = Marker("t", "id", 1, "c", {}, remembered, 0, 0, 0, 0, 0, "d")

    assert Marker.from_json(marker.to_json()).remembered == remembered


def test_a_window_that_remembers_nothing_starts_at_the_next_offset() -> None:
    window = DuplicateWindow(window_us=10, remembered_rows=0)

    kept = window.keep(["a", "a"], np.array([5, 6]), np.array([0, 1]))

    assert kept.tolist() == [True, True]
    assert window.remembered(next_offset=2) == Remembered(from_offset=2, clock_us=6)
    assert len(window) == 0


def test_a_partition_that_was_never_seen_starts_at_the_next_offset() -> None:
    remembered = filter_of((10, 10)).remembered(partition=5, next_offsets=(77, 77, 60))

    assert remembered == tuple(Remembered(n, CLOCK_START_US) for n in (77, 77, 60))


@pytest.mark.parametrize(("later_us", "kept"), [(5, False), (6, True)])
def test_the_window_includes_its_last_microsecond(later_us: int, kept: bool) -> None:
    rows = [Row("a", 0, 0, 100, 0), Row("a", 0, 1, 100 + later_us, 0)]

    assert filter_of((5, 10)).keep(*batch(rows)).tolist() == [True, kept]


def test_duplicates_do_not_advance_the_clock() -> None:
    rows = [Row("a", 0, 0, 0, 0), Row("a", 0, 1, 4, 0), Row("a", 0, 2, 6, 0)]

    assert filter_of((5, 10)).keep(*batch(rows)).tolist() == [True, False, True]


def test_a_message_from_the_far_future_makes_no_row_disappear_but_repetitions() -> None:
    rows = [Row("x", 0, 0, FAR, 0), *(Row(str(i), 0, i + 1, i, 0) for i in range(50))]
    rows.append(Row("49", 0, 51, 10**9, 0))

    kept = filter_of((5, 10)).keep(*batch(rows)).tolist()

    assert kept == [True] * 51 + [False]
