"""When messages were first seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._visibility import Stamped, delays_us


def stamped(rows: list[tuple[int, int, int]]) -> Stamped:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Stamped(columns[:, 0], columns[:, 1], columns[:, 2])


def test_a_message_is_seen_by_the_first_look_that_covers_it() -> None:
    messages = stamped([(0, 0, 10), (0, 1, 20), (1, 0, 30)])
    notes = np.array([[15, 1, 0], [25, 1, 1], [40, 2, 1]])
    assert sorted(delays_us(messages, notes, 0)) == [-5, 5, 20]


def test_messages_of_the_warm_up_do_not_count() -> None:
    messages = stamped([(0, 0, 10), (0, 1, 20)])
    assert list(delays_us(messages, np.array([[50, 2]]), 20)) == [30]


def test_a_message_that_was_never_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="partition 0"):
        delays_us(stamped([(0, 1, 10)]), np.array([[50, 1]]), 0)


@pytest.mark.parametrize("rows", [[(0, 0, 0), (0, 2, 0)], [(0, 0, 0), (0, 0, 0)], [(0, 0, 0)]])
def test_a_hole_or_a_double_is_not_a_whole_log(rows: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="partition 0"):
        stamped(rows).require_whole({0: 2})


@given(st.data())
def test_delays_are_those_of_a_plain_search(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    reached = np.cumsum(steps)
    times = np.arange(1, len(steps) + 1) * 100
    end = int(reached[-1])
    stamps = data.draw(st.lists(st.integers(0, 99), min_size=end, max_size=end))
    messages = stamped([(0, offset, stamp) for offset, stamp in enumerate(stamps)])
    wanted = [
        next(int(t) for t, r in zip(times, reached, strict=True) if r > offset) - stamp
        for offset, stamp in enumerate(stamps)
    ]
    assert list(delays_us(messages, np.stack([times, reached], axis=1), 0)) == wanted
