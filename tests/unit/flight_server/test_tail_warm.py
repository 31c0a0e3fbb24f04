"""Starting from lake, sealed segments and log decides about each row as reading it all would."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
from hypothesis import given, settings

from contract.decode import Decoder
from contract.duplicates import DuplicateFilter, Remembered
from contract.lanes import lanes_of
from contract.log import RawBatch
from contract.table import LANES, OFFSET, Lane
from flight_server.tail.chunk import REJECTS_LANE, Chunk, Segment
from flight_server.tail.columns import (
    DEAD_TAIL_SCHEMA,
    as_views,
    filter_rows,
    integers,
    no_rows,
    tail_schema,
)
from flight_server.tail.warm import fitting, seed
from tests.support.log_model import DEFINITION, Event, ModelLog
from tests.support.view_model import ModelLake

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = st.sampled_from([-40, -3, 0, 1, 2, 5, 12])
EVENTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([Lane.HIGH, Lane.LOW]), STEPS),
    min_size=1,
    max_size=40,
)


def rows_at(log: ModelLog, offsets: list[int]) -> pa.RecordBatch:
    raw = RawBatch()
    for offset in offsets:
        event = log.entries[0][offset]
        assert isinstance(event, Event)
        raw.partitions.append(0)
        raw.offsets.append(offset)
        raw.timestamps_us.append(event.timestamp_us)
        raw.keys.append(None)
        raw.values.append(event.value())
    return Decoder(DEFINITION).decode(raw).rows


def sealed(log: ModelLog, lo: int, hi: int, number: int = 1) -> Segment:
    """What a sealed segment of this range holds."""
    schema = tail_schema(DEFINITION)
    rows = rows_at(log, [o for o, _ in log.kept(0) if lo <= o < hi])
    lanes = lanes_of(DEFINITION, rows)
    ranges = {0: (lo, hi)}
    chunks = tuple(
        Chunk(lane, ranges, as_views(filter_rows(rows, lanes == lane), schema)) for lane in LANES
    )
    rejects = Chunk(REJECTS_LANE, ranges, no_rows(DEAD_TAIL_SCHEMA))
    return Segment(ranges, chunks, rejects, rows.num_rows, 0, 0.0, number=number)


def decided(log: ModelLog, watermarks: tuple[int, ...], seams: list[int]) -> list[int]:
    """Offsets that are kept after a start with sealed segments between these seams."""
    lake = ModelLake(log)
    lake.commit({0: watermarks})
    snapshot = lake.now[0]
    assert snapshot.marker is not None
    remembered = snapshot.marker.remembered
    starts = {0: tuple(r.from_offset for r in remembered[0])}
    segments = [sealed(log, lo, hi) for lo, hi in itertools.pairwise(seams)]
    duplicates = DuplicateFilter(DEFINITION)

    seed(
        duplicates,
        DEFINITION,
        remembered,
        {0: watermarks},
        lake.seed_rows(snapshot, starts),
        segments,
    )
    rest = rows_at(log, list(range(seams[-1], log.end(0))))
    lanes = lanes_of(DEFINITION, rest)
    fresh = integers(rest, OFFSET) >= np.array(watermarks)[lanes]
    rest, lanes = filter_rows(rest, fresh), lanes[fresh]
    kept: list[int] = integers(rest, OFFSET)[duplicates.keep(rest, lanes)].tolist()
    return kept


@settings(max_examples=300)
@given(EVENTS, st.data())
def test_the_rule_goes_on_exactly_wherever_lake_and_files_end(
    events: list[tuple[str, Lane, int]], data: st.DataObject
) -> None:
    log = ModelLog()
    for event_id, lane, step_us in events:
        log.now_us += step_us
        log.produce(0, Event(event_id, lane, log.now_us))
    end = log.end(0)
    watermarks = tuple(data.draw(st.integers(0, end)) for _ in LANES)
    warm_end = data.draw(st.integers(min(watermarks), end))
    seams = data.draw(st.lists(st.integers(min(watermarks), warm_end), max_size=4))

    kept = decided(log, watermarks, [min(watermarks), *sorted(seams), warm_end])

    assert kept == [o for o, e in log.kept(0) if o >= max(warm_end, watermarks[e.lane])]


def test_the_clock_of_rows_that_are_too_old_to_be_remembered_counts() -> None:
    log = ModelLog()
    for event_id, at_us in [("x", 1000), ("a", 100), ("b", 110), ("c", 120), ("d", 130)]:
        log.produce(0, Event(event_id, Lane.HIGH, at_us))
    log.produce(0, Event("a", Lane.HIGH, 125))

    assert decided(log, (0, 0, 0), [0, 1, 5]) == []
    assert [offset for offset, _ in log.kept(0)] == [0, 1, 2, 3, 4]


def log_of(count: int) -> ModelLog:
    log = ModelLog()
    for i in range(count):
        log.event(0, f"id-{i}")
    return log


def test_segments_that_continue_the_marker_are_kept() -> None:
    log = log_of(30)
    segments = [sealed(log, 0, 10, 1), sealed(log, 10, 20, 2), sealed(log, 20, 30, 3)]

    kept, positions = fitting(segments, {0: (12, 12, 12)}, {})

    assert [s.number for s in kept] == [2, 3]
    assert positions == {0: 30}


def test_nothing_behind_a_hole_is_kept() -> None:
    log = log_of(30)

    kept, positions = fitting([sealed(log, 0, 10, 1), sealed(log, 20, 30, 3)], {0: (5, 5, 5)}, {})

    assert [s.number for s in kept] == [1]
    assert positions == {0: 10}


def test_a_segment_above_the_marker_is_not_kept() -> None:
    kept, positions = fitting([sealed(log_of(30), 10, 20)], {0: (5, 5, 5)}, {})

    assert kept == []
    assert positions == {0: 5}


def test_a_lane_that_was_trimmed_must_be_covered_by_the_marker() -> None:
    whole = sealed(log_of(20), 0, 20)
    low_only = Segment(whole.ranges, whole.chunks[2:], whole.rejects, 0, 0, 0.0, number=1)

    covered, _ = fitting([low_only], {0: (20, 20, 5)}, {})
    rolled_back, _ = fitting([low_only], {0: (19, 20, 5)}, {})

    assert covered == [low_only]
    assert rolled_back == []


def test_rows_that_were_never_read_must_be_covered_by_the_marker() -> None:
    whole = sealed(log_of(20), 0, 20)
    partial = Segment(
        whole.ranges, whole.chunks, whole.rejects, 0, 0, 0.0, missing_below={0: (8, 0, 0)}
    )

    assert fitting([partial], {0: (8, 3, 3)}, {})[0] == [partial]
    assert fitting([partial], {0: (7, 3, 3)}, {})[0] == []


def test_rows_of_the_lake_that_no_lane_remembers_are_not_held() -> None:
    """A lane that is far behind has everything behind it read: that must not be kept."""
    log = ModelLog()
    log.produce(0, *(Event(f"id{i}", Lane.HIGH, i) for i in range(2_000)))
    rows = rows_at(log, list(range(2_000)))
    held: list[int] = []

    def lake_rows() -> Iterator[pa.RecordBatch]:
        before = pa.total_allocated_bytes()
        for _ in range(50):
            yield pa.RecordBatch.from_pydict(rows.to_pydict(), rows.schema)
            held.append(pa.total_allocated_bytes() - before)

    starts = (Remembered(1_999, 0), Remembered(0, 0), Remembered(0, 0))
    next_offsets = {0: (2_000, 0, 0)}
    seed(DuplicateFilter(DEFINITION), DEFINITION, {0: starts}, next_offsets, lake_rows(), [])

    assert held[-1] < 4 * rows.nbytes
