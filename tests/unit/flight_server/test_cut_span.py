"""The arithmetic of cuts against a model that looks at each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from contract.table import LANES, OFFSET, PARTITION
from flight_server.cut.kept import behind
from flight_server.cut.span import Span
from flight_server.lake.snapshot import DataFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = tuple[int, int, int]  # partition, offset, lane

OFFSETS = st.integers(0, 12)
BY_LANE = st.tuples(*(OFFSETS for _ in LANES))
NEXT = st.dictionaries(st.integers(0, 3), BY_LANE, max_size=4)
ROWS = st.lists(st.tuples(st.integers(-2, 4), OFFSETS, st.sampled_from([0, 1, 2])), max_size=30)
OTHERS = st.dictionaries(st.integers(-2, -1), OFFSETS, max_size=2)
FILES = st.lists(st.tuples(ROWS.filter(bool), st.booleans()), max_size=6)


def belongs(row: Row, span: Span) -> bool:
    """The rule as it is written."""
    partition, offset, lane = row
    if partition in span.hi:
        lo = span.lo.get(partition, (0,) * len(LANES))[lane]
        return lo <= offset < span.hi[partition][lane]
    return partition in span.others and offset < span.others[partition]


def held(span: Span, rows: Sequence[Row]) -> list[bool]:
    """What the vectorised form says of each row."""
    columns = np.array(rows, np.int64).reshape(len(rows), 3).T
    found: list[bool] = span.holds(columns[0], columns[1], columns[2].astype(np.int8)).tolist()
    return found


def files_of(parts: Sequence[tuple[Sequence[Row], bool]]) -> DataFiles:
    """One file for each list of rows; False: its manifest has no bounds."""

    def bounds(at: int, kind: pa.DataType) -> tuple[pa.Array, pa.Array, pa.Array]:
        least = [min(r[at] for r in rows) if known else None for rows, known in parts]
        greatest = [max(r[at] for r in rows) if known else None for rows, known in parts]
        return pa.array(least, kind), pa.array(greatest, kind), pa.array([0] * len(parts))

    names = [str(n) for n in range(len(parts))]
    columns = {PARTITION: bounds(0, pa.int32()), OFFSET: bounds(1, pa.int64())}
    return DataFiles.of(names, names, [len(r) for r, _ in parts], [1] * len(parts), columns)


@given(NEXT, NEXT, OTHERS, ROWS)
def test_rows_belong_to_a_span_by_their_partition_and_lane(
    lo: Mapping[int, tuple[int, ...]],
    hi: Mapping[int, tuple[int, ...]],
    others: Mapping[int, int],
    rows: list[Row],
) -> None:
    span = Span(lo, hi, others)

    assert held(span, rows) == [belongs(row, span) for row in rows]


@given(NEXT, NEXT, OTHERS, FILES)
def test_files_are_read_as_a_whole_in_part_or_not_at_all(
    lo: Mapping[int, tuple[int, ...]],
    hi: Mapping[int, tuple[int, ...]],
    others: Mapping[int, int],
    parts: list[tuple[list[Row], bool]],
) -> None:
    span = Span(lo, hi, others)
    split = span.split(files_of(parts))

    for (rows, _), whole, part in zip(parts, split.whole, split.part, strict=True):
        belong = [belongs(row, span) for row in rows]
        assert not (whole and part)
        assert all(belong) or not whole
        assert not any(belong) or whole or part


def test_a_file_below_the_cut_is_read_as_a_whole_and_one_beyond_it_not_at_all() -> None:
    span = Span({}, {0: (10, 10, 10), 1: (5, 6, 7)}, {})
    files = files_of(
        [([(0, 0, 0), (0, 9, 0)], True), ([(0, 3, 0), (1, 4, 1)], True), ([(0, 10, 0)], True)]
    )
    split = span.split(files)

    assert split.whole.tolist() == [True, True, False]
    assert split.part.tolist() == [False, False, False]


@given(NEXT, NEXT, NEXT, ROWS)
def test_any_later_view_filtered_is_the_earlier_answer(
    lake: Mapping[int, tuple[int, ...]],
    cut: Mapping[int, tuple[int, ...]],
    later: Mapping[int, tuple[int, ...]],
    log: list[Row],
) -> None:
    """The later view has all rows of the log below its cut, wherever the seam of it lies."""
    cut = _joined(cut, lake)
    later = _joined(later, cut)
    log = sorted({row for row in log if row[0] >= 0})

    def below(offsets: Mapping[int, tuple[int, ...]]) -> list[Row]:
        return [r for r in log if r[1] < offsets.get(r[0], (0, 0, 0))[r[2]]]

    def again(span: Span) -> list[Row]:
        rows = below(later)
        return [row for row, kept in zip(rows, held(span, rows), strict=True) if kept]

    assert again(Span({}, cut, {})) == below(cut)
    assert again(Span({}, lake, {})) == below(lake)
    assert again(Span(lake, cut, {})) == [r for r in below(cut) if r not in below(lake)]


@given(NEXT, NEXT)
def test_what_a_cut_lacks_is_said_and_nothing_else(
    cut: Mapping[int, tuple[int, ...]], wanted: Mapping[int, tuple[int, ...]]
) -> None:
    missing = [
        (p, have, want)
        for p, offsets in wanted.items()
        for have, want in zip(cut.get(p, (0, 0, 0)), offsets, strict=True)
        if have < want
    ]
    words = behind(cut, wanted)

    assert bool(words) == bool(missing)
    if missing:
        partition, have, want = missing[0]
        assert words == f"partition {partition} stands at offset {have}, asked for is {want}"


def _joined(
    one: Mapping[int, tuple[int, ...]], other: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    nothing = (0,) * len(LANES)
    return {
        p: tuple(map(max, one.get(p, nothing), other.get(p, nothing)))
        for p in one.keys() | other.keys()
    }
