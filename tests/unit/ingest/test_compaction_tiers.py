"""Which files are put together: bounds that hold for any files, and what they lead to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ingest.maintenance.tiers import (
    FANOUT,
    SETTLED_FANOUT,
    SETTLED_S,
    Group,
    SmallFile,
    plan,
    tier_of,
)

TARGET_BYTES = 1_000_000
ROW_BYTES = 10
NOW_S = 1_000_000.0


def a_file(path: str, rows: int, at_s: float = NOW_S, day: int = 0) -> SmallFile:
    return SmallFile(path, day, rows, rows * ROW_BYTES, at_s, at_s)


@st.composite
def files(draw: st.DrawFn) -> list[SmallFile]:
    made = draw(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.one_of(st.integers(0, 40), st.integers(0, 120_000)),
                st.floats(0, NOW_S),
                st.floats(0.5, 2.0),
                st.booleans(),
            ),
            max_size=60,
        )
    )
    return [
        SmallFile(f"f{i}", day, rows, int(rows * ROW_BYTES * bloat) + 4, at_s, at_s, is_new)
        for i, (day, rows, at_s, bloat, is_new) in enumerate(made)
    ]


def fanout_of(group: Group, all_files: list[SmallFile]) -> int:
    day = [f for f in all_files if f.day == group.day]
    settled = all(not f.is_new and NOW_S - f.last_s >= SETTLED_S for f in day)
    return SETTLED_FANOUT if settled else FANOUT


@given(files())
def test_a_file_is_in_one_group_and_groups_stay_within_a_day_and_the_target(
    made: list[SmallFile],
) -> None:
    groups = plan(made, TARGET_BYTES, NOW_S)

    used = Counter(f.path for g in groups for f in g.files)
    assert all(n == 1 for n in used.values())
    assert set(used) <= {f.path for f in made}
    for group in groups:
        assert len(group.files) > 1
        assert {f.day for f in group.files} == {group.day}
        assert group.size_bytes <= TARGET_BYTES
        assert all(2 * f.size_bytes < TARGET_BYTES for f in group.files)
        assert [f.first_s for f in group.files] == sorted(f.first_s for f in group.files)


@given(files())
def test_every_merger_leads_to_a_higher_tier_or_to_a_file_that_is_left_alone(
    made: list[SmallFile],
) -> None:
    made = [replace(f, rows=f.rows + 1) for f in made]
    for group in plan(made, TARGET_BYTES, NOW_S):
        fanout = fanout_of(group, made)
        highest = max(tier_of(f.rows, fanout) for f in group.files)

        assert 2 * group.size_bytes >= TARGET_BYTES or tier_of(group.rows, fanout) > highest


@given(files())
def test_after_it_no_tier_has_as_many_files_as_make_a_group(made: list[SmallFile]) -> None:
    groups = plan(made, TARGET_BYTES, NOW_S)
    gone = {f.path for g in groups for f in g.files}
    left = [Group(f.day, (f,)) for f in made if f.path not in gone] + groups
    for day in {f.day for f in made}:
        small = [g for g in left if g.day == day and 2 * g.size_bytes < TARGET_BYTES]
        fanout = fanout_of(Group(day, ()), made)
        tiers = Counter(tier_of(g.rows, fanout) for g in small)

        assert all(n < fanout for n in tiers.values())


def test_a_row_is_written_again_a_bounded_number_of_times_and_files_stay_few() -> None:
    """5,000 flushes of 200 to 400 rows: half the target is 50,000 rows, three tiers away."""
    random, names = Random(7), count()
    live: list[tuple[SmallFile, int]] = []  # and how often its rows were written again, at most
    most_files = rewritten = flushed = 0
    for n in range(5_000):
        rows = random.randrange(200, 400)
        flushed += rows
        live.append((a_file(f"f{next(names)}", rows, NOW_S + n), 0))
        if n % 5:
            continue
        for group in plan([f for f, _ in live], TARGET_BYTES, NOW_S + n):
            paths = {f.path for f in group.files}
            times = 1 + max(t for f, t in live if f.path in paths)
            first, last = group.files[0].first_s, group.files[-1].last_s
            live = [(f, t) for f, t in live if f.path not in paths]
            made = SmallFile(f"c{next(names)}", 0, group.rows, group.rows * ROW_BYTES, first, last)
            live.append((made, times))
            rewritten += group.rows
        most_files = max(most_files, sum(2 * f.size_bytes < TARGET_BYTES for f, _ in live))

    assert max(t for _, t in live) <= 3
    assert rewritten / flushed < 3
    assert most_files <= 4 * FANOUT
    assert sum(f.rows for f, _ in live) == flushed


def test_a_day_to_which_nothing_comes_any_more_ends_in_a_few_files() -> None:
    day = [a_file(f"f{n}", 300, NOW_S - 2 * SETTLED_S + n) for n in range(20)]

    (group,) = plan(day, TARGET_BYTES, NOW_S)

    assert len(group.files) >= 16
    assert plan([*day[:7], replace(day[7], is_new=True)], TARGET_BYTES, NOW_S) != []
    assert plan([*day[:6], replace(day[7], is_new=True)], TARGET_BYTES, NOW_S) == []


def test_files_that_fill_half_the_target_together_do_not_wait_for_others() -> None:
    pair = [a_file("a", 30_000), a_file("b", 25_000)]

    assert plan(pair, TARGET_BYTES, NOW_S) == [Group(0, tuple(pair))]
    assert plan([pair[0], a_file("c", 10_000)], TARGET_BYTES, NOW_S) == []
