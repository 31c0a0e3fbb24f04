"""The marker's stored form, what is refused, and which marker holds for a snapshot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.duplicates import CLOCK_START_US, Remembered
from contract.errors import OperatorError
from contract.levels import Level
from contract.marker import FORMAT, MARKER_KEY, Gap, Marker, find_marker, is_at_or_after
from contract.table import Lane
from tests.support.strategies import markers

GOLDEN = Path(__file__).parent / "golden"

# What golden/marker-v1.json says. Tables out there hold this text: neither may ever change.
V1 = Marker(
    topic="trades",
    topic_id="pHnGkUxQTbKJXrQoVSFDdA",
    epoch=3,
    commit_id="0190c8f6-7d52-7cc1-9d0a-3f1e5d2b4a60",
    next={0: (1200, 1200, 950), 1: (0, 0, 0), 10: (88, 90, 90)},
    remembered={
        0: (
            Remembered(1100, 1_610_064_000_278_000),
            Remembered(1150, 1_610_064_000_300_000),
            Remembered(950, 1_610_064_000_100_000),
        ),
        1: (Remembered(0, CLOCK_START_US),) * 3,
        10: (Remembered(88, 5), Remembered(90, 6), Remembered(90, 7)),
    },
    rows=250,
    dead_letters=2,
    tombstones=1,
    duplicates=7,
    schema_id=0,
    rules_digest="5f2d1c0a9b8e7d6c",
    gaps=(Gap(10, 40, 88, "deleted by retention", 1_610_064_000_300),),
)


# What golden/marker-v2.json says: the same with a gap of one lane, under load.
V2 = replace(
    V1,
    gaps=(*V1.gaps, Gap(0, 900, 950, "deleted by retention", 1_610_064_000_400, (Lane.LOW,))),
    level=Level.MODERATE,
)


def stored(**changes: Any) -> str:
    return json.dumps({**json.loads(V1.to_json()), **changes})


@given(markers())
def test_a_marker_is_read_back_as_it_was_written(marker: Marker) -> None:
    text = marker.to_json()

    assert Marker.from_json(text) == marker
    assert Marker.from_json(text).to_json() == text
    assert "\n" not in text


def test_the_stored_format_1_is_read_and_written_as_ever() -> None:
    text = (GOLDEN / "marker-v1.json").read_text(encoding="utf-8").rstrip("\n")

    assert Marker.from_json(text) == V1
    assert V1.to_json() == text
    assert Marker.from_json(text).to_json() == text


def test_the_stored_format_2_is_read_and_written_as_ever() -> None:
    text = (GOLDEN / "marker-v2.json").read_text(encoding="utf-8").rstrip("\n")

    assert Marker.from_json(text) == V2
    assert V2.to_json() == text


def test_a_marker_whose_gaps_are_of_all_lanes_is_of_format_1() -> None:
    assert json.loads(replace(V1, level=Level.SEVERE).to_json())["format"] == 1


def test_every_stored_format_has_a_golden_file() -> None:
    names = sorted(path.name for path in GOLDEN.glob("marker-v*.json"))

    assert names == [f"marker-v{n}.json" for n in range(1, FORMAT + 1)]


def test_fields_that_a_later_version_of_format_1_adds_are_ignored() -> None:
    assert Marker.from_json(stored(colour="red")) == V1


def test_the_order_of_the_partitions_makes_no_other_text() -> None:
    backwards = dict(reversed([*V1.next.items()]))

    assert Marker.from_json(stored(next={str(p): [*o] for p, o in backwards.items()})) == V1


@pytest.mark.parametrize("newer", [FORMAT + 1, 99])
def test_a_newer_format_is_refused_with_what_to_do(newer: int) -> None:
    with pytest.raises(OperatorError, match=f"has format {newer}.*install the newer Highwater"):
        Marker.from_json(json.dumps({"format": newer, "next": "something else"}))


BROKEN = [
    "",
    "null",
    "[]",
    "1",
    '"text"',
    "{}",
    "{",
    V1.to_json()[:-1],
    "[" * 100_000,
    stored(format=0),
    stored(format="1"),
    stored(format=None),
    stored(format=1.5),
    stored(format=True),
    stored(topic=None),
    stored(topic_id=5),
    stored(epoch="3"),
    stored(epoch=float("inf")),
    stored(rows=1.5),
    stored(next=[]),
    stored(next={"0": [1, 2]}),
    stored(next={"0": [1, 2, 3, 4]}),
    stored(next={"0": 5}),
    stored(next={"0": [1, 2, None]}),
    stored(next={"zero": [1, 2, 3]}),
    stored(remembered={"0": [[1, 2], [1, 2]]}),
    stored(remembered={"0": [[1], [1, 2], [1, 2]]}),
    stored(remembered={"0": [1, 2, 3]}),
    stored(remembered=None),
    stored(gaps=[[1, 2, 3, "x"]]),
    stored(gaps=[[1, 2, 3, 4, 5]]),
    stored(gaps=5),
    stored(level="HEAVY"),
    stored(level=1),
    stored(format=2),  # its gap has no lanes
    stored(format=2, gaps=[[1, 2, 3, "x", 5, []]]),
    stored(format=2, gaps=[[1, 2, 3, "x", 5, [3]]]),
    *(
        json.dumps({k: v for k, v in json.loads(V1.to_json()).items() if k != gone})
        for gone in json.loads(V1.to_json())
    ),
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_text_is_for_the_operator_and_never_guessed(text: str) -> None:
    with pytest.raises(OperatorError, match="the table's marker cannot be read") as caught:
        Marker.from_json(text)

    assert MARKER_KEY in str(caught.value)


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_any_other_text_is_refused_in_the_same_way(text: str) -> None:
    with pytest.raises(OperatorError):
        Marker.from_json(text)


@given(
    markers(),
    st.sampled_from(sorted(json.loads(V1.to_json()))),
    st.none() | st.floats() | st.lists(st.integers() | st.text()) | st.text(),
)
def test_a_field_of_the_wrong_kind_never_raises_anything_else(
    marker: Marker, name: str, value: Any
) -> None:
    text = json.dumps({**json.loads(marker.to_json()), name: value})

    try:
        Marker.from_json(text)
    except OperatorError:
        return
    assert isinstance(value, str | list)


def test_next_and_live_offset_are_the_slowest_and_the_fastest_lane() -> None:
    assert (V1.next_offset(0), V1.live_offset(0)) == (950, 1200)
    assert (V1.next_offset(7), V1.live_offset(7)) == (0, 0)


offsets = st.dictionaries(st.integers(0, 3), st.tuples(*[st.integers(0, 3)] * 3))


@given(offsets, offsets)
def test_at_or_after_is_asked_of_every_partition_and_lane(
    later: dict[int, tuple[int, int, int]], earlier: dict[int, tuple[int, int, int]]
) -> None:
    pairs = [
        (later.get(p, (0, 0, 0))[lane], earlier.get(p, (0, 0, 0))[lane])
        for p in range(4)
        for lane in range(3)
    ]

    assert is_at_or_after(later, earlier) == all(a >= b for a, b in pairs)


# --- which marker holds ---------------------------------------------------------------------


def summary(commit_id: str) -> dict[str, str]:
    return {"operation": "append", MARKER_KEY: stored(commit_id=commit_id)}


FOREIGN = {"operation": "overwrite", "total-records": "5"}


def found(*args: Any) -> str | None:
    marker = find_marker(*args)
    return None if marker is None else marker.commit_id


def test_the_nearest_summary_wins_over_older_ones_and_the_property() -> None:
    assert found([summary("c"), summary("b")], summary("z")) == "c"


def test_foreign_commits_are_walked_over() -> None:
    assert found([FOREIGN, FOREIGN, summary("b"), summary("a")], {}) == "b"


def test_the_property_counts_only_where_no_summary_has_a_marker() -> None:
    assert found([FOREIGN], summary("z")) == "z"
    assert found([], summary("z")) == "z"


def test_a_table_without_a_marker_has_none() -> None:
    assert found([], {}) is None
    assert found([FOREIGN], {"owner": "x"}) is None


def test_a_broken_marker_is_not_walked_over() -> None:
    with pytest.raises(OperatorError, match="cannot be read"):
        find_marker([{MARKER_KEY: "{"}, summary("a")], summary("a"))


def test_older_ancestors_are_not_looked_at() -> None:
    def ancestors() -> Any:
        yield summary("b")
        raise AssertionError

    assert found(ancestors(), {}) == "b"
