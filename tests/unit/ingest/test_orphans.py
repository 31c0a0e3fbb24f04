"""Which unneeded files may be removed, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.maintenance.orphans import STRANGER_S, Lowest, Rules, StoredFile, judge, unneeded

NOW_S = 10_000_000.0
OURS = f"data/at_day=1970-01-01/{'0' * 32}-00000.parquet"
STRANGE = "data/at_day=1970-01-01/00000-0-abc.parquet"
RULES = Rules(
    now_s=NOW_S,
    head_s=NOW_S - 10,
    commit_within_s=300.0,
    grace_s=3_600.0,
    next={0: (100, 100, 50), 1: (7, 7, 7)},
)


def a_file(name: str = OURS, age_s: float = 5_000.0) -> StoredFile:
    return StoredFile(name, 1, NOW_S - age_s)


def test_only_files_of_a_table_are_looked_at_and_only_those_that_no_snapshot_names() -> None:
    files = [a_file(n) for n in ("data/a.parquet", "metadata/b.avro", "data/_tmp", "README.md")]

    assert unneeded(files, {"data/a.parquet"}) == [files[1]]


@pytest.mark.parametrize(
    ("lowest", "closed"),
    [
        ({0: 49}, True),  # below what every lane has passed
        ({0: 50}, False),  # the lane behind may still commit it
        ({0: 120, 1: 6}, True),  # one row is enough: the whole file is one commit
        ({0: 120, 1: 7}, False),
        ({2: 0}, False),  # a partition that is new
        (None, True),  # half a file
    ],
)
def test_a_flush_is_kept_until_the_marker_has_passed_one_of_its_rows(
    lowest: Lowest, closed: bool
) -> None:
    assert RULES.is_closed(a_file(), lowest) is closed
    assert RULES.is_closed(a_file(age_s=10 * STRANGER_S), lowest) is closed


@pytest.mark.parametrize("lowest", [None, {}, {-1: 3}, {0: 3}])
def test_a_file_of_another_tool_has_three_days(lowest: Lowest) -> None:
    """It may be a compaction of that tool, which takes its time."""
    assert not RULES.is_closed(a_file(STRANGE, STRANGER_S - 1), lowest)
    assert RULES.is_closed(a_file(STRANGE, STRANGER_S + 1), lowest)


@pytest.mark.parametrize("name", [OURS, "metadata/x-m0.avro", "metadata/1-x.metadata.json"])
def test_while_the_head_may_be_the_one_that_a_commit_asserts_nothing_is_closed(name: str) -> None:
    """A process that was halted before its commit goes on with the head that it had loaded."""
    file = a_file(name, age_s=310.0)

    assert not RULES.is_closed(file, {0: 0})
    assert RULES.is_closed(replace(file, modified_s=file.modified_s - 1), {0: 0})
    assert not replace(RULES, head_s=0.0).is_closed(file, {0: 0})


def test_the_grace_begins_when_a_file_was_first_found_unneeded() -> None:
    file = a_file(age_s=100_000.0)

    first = judge([file], {file.name: {0: 0}}, {}, RULES)
    soon = judge([file], {}, first.seen_s, replace(RULES, now_s=NOW_S + 3_599))
    later = judge([file], {}, first.seen_s, replace(RULES, now_s=NOW_S + 3_600))

    assert (first.ready, first.waiting) == ((), (file,))
    assert (soon.ready, soon.waiting) == ((), (file,))
    assert (later.ready, later.waiting) == ((file,), ())


def test_a_ledger_from_the_future_does_not_shorten_the_grace_nor_make_it_endless() -> None:
    file = a_file()

    verdict = judge([file], {}, {file.name: NOW_S + 1e6}, RULES)

    assert verdict.waiting == (file,)
    assert verdict.seen_s[file.name] == NOW_S


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_nothing_is_removed_before_it_was_unneeded_for_the_whole_grace(
    passes: list[tuple[int, bool]], grace_h: int
) -> None:
    """Passes some hours apart; in each the file is needed or not. Needed again: the grace anew."""
    rules, now_s = replace(RULES, grace_s=grace_h * 3_600.0), NOW_S
    ledger: dict[str, float] = {}
    unneeded_since: float | None = None
    file = a_file(age_s=STRANGER_S)
    for hours, is_needed in passes:
        now_s += hours * 3_600.0
        found = [] if is_needed else [file]
        verdict = judge(
            found, {file.name: {0: 0}}, ledger, replace(rules, now_s=now_s, head_s=now_s)
        )
        ledger = dict(verdict.seen_s)
        if is_needed:
            unneeded_since = None
        elif unneeded_since is None:
            unneeded_since = now_s
        long_enough = unneeded_since is not None and now_s - unneeded_since >= rules.grace_s
        assert bool(verdict.ready) is long_enough
