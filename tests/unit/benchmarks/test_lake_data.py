"""The rows that benchmarks are made of."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.ingest import Commit, Memory, sustained
from benchmarks.joint import geometric_mean
from benchmarks.lake_data import LakeShape, next_offsets, trades
from benchmarks.stack import PARTITIONS
from benchmarks.tail import expected_by_symbol
from contract.definition import load_definition

SHAPE = LakeShape(rows=1_000, files=4, days=2)


def test_rows_have_the_stored_schema_and_are_the_same_for_the_same_seed() -> None:
    rows = trades(SHAPE, 250, 250)
    assert rows.schema == load_definition("trades").stored_schema
    assert rows.equals(trades(SHAPE, 250, 250))


def test_time_grows_strictly_within_the_lake_and_into_the_tail() -> None:
    lake = trades(SHAPE, 0, 1_000)["timestamp"].to_pylist()
    tail = trades(SHAPE, 1_000, 10, step_us=50)["timestamp"].to_pylist()
    assert all(a < b for a, b in pairwise(lake + tail))


@pytest.mark.parametrize("rows", [0, 1, 5, 1_000])
def test_next_offsets_cover_exactly_the_first_rows(rows: int) -> None:
    found = next_offsets(rows)
    assert found == {p: len([i for i in range(rows) if i % PARTITIONS == p]) for p in found}
    assert sum(found.values()) == rows


def test_symbols_of_the_feed_are_counted_over_whole_rings_and_the_rest() -> None:
    few, many = expected_by_symbol(100, seed=3), expected_by_symbol(16_384 * 2 + 100, seed=3)
    ring = expected_by_symbol(16_384, seed=3)
    assert sum(few.values()) == 100
    assert many == {symbol: 2 * n + few.get(symbol, 0) for symbol, n in ring.items()}


def test_only_full_commits_are_sustained() -> None:
    commits = [Commit(1.0, 50, 50), Commit(2.0, 150, 100), Commit(3.0, 250, 100)]
    commits += [Commit(4.0, 350, 100), Commit(9.0, 360, 10)]
    assert sustained(commits, 100) == 100
    with pytest.raises(ValueError, match="too few"):
        sustained(commits[:3], 100)


def test_memory_at_a_time_is_the_median_around_it_or_the_nearest_sample() -> None:
    memory = Memory([0.0, 1.0, 1.1, 1.2, 5.0], [1, 10, 30, 20, 99])
    assert memory.around(1.1, 0.2) == 20
    assert memory.around(4.0, 0.2) == 99


def test_the_geometric_mean_of_a_ratio_and_its_inverse_is_one() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
