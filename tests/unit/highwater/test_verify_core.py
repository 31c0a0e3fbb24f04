"""The pure core of `highwater verify`: the duplicate rule, the strips, the chain of markers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.duplicates import DuplicateFilter
from contract.errors import OperatorError
from contract.marker import MARKER_KEY, Marker
from contract.table import LANES
from highwater.verify.chain import read_chain
from highwater.verify.commits import check_commits
from highwater.verify.compare import differences
from highwater.verify.facts import Commit, FileEntry, FileFacts, RowGroup, Span, TableFacts
from highwater.verify.findings import KEPT_FINDINGS, Finding, Ledger, runs
from highwater.verify.inventory import check_files
from highwater.verify.rule import LaneRule
from highwater.verify.strips import GroupIndex, plan_strips
from tests.support.sidecar_world import DEFINITION

ROW = st.tuples(st.sampled_from("abcdef"), st.integers(-3, 30), st.integers(0, 2))


@given(
    history=st.lists(ROW, max_size=60),
    window_us=st.integers(0, 12),
    remembered_rows=st.integers(0, 5),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_the_naive_rule_and_the_products_keep_the_same_rows(
    history: list[tuple[str, int, int]], window_us: int, remembered_rows: int, cuts: list[int]
) -> None:
    """In whatever batches, with clocks that go back, and with the same memory at the end."""
    definition = replace(DEFINITION, duplicate_window_us=window_us, duplicate_rows=remembered_rows)
    product = DuplicateFilter(definition)
    naive = [LaneRule(window_us, remembered_rows) for _ in LANES]
    bounds = sorted({0, len(history), *(c for c in cuts if c < len(history))})
    for start, end in pairwise(bounds):
        batch = history[start:end]
        rows = _rows(batch, start)
        lanes = np.array([lane for _, _, lane in batch], np.int8)
        kept = product.keep(rows, lanes).tolist()
        for lane, rule in enumerate(naive):
            mine = [i for i in range(len(batch)) if lanes[i] == lane]
            verdicts = rule.judge(
                [batch[i][0] for i in mine],
                [batch[i][1] for i in mine],
                [start + i for i in mine],
                [False] * len(mine),
            )
            assert verdicts == [kept[i] for i in mine]
    promised = product.remembered(0, (len(history),) * len(naive))
    assert [tuple(p) for p in promised] == [rule.remembered(len(history)) for rule in naive]


def _rows(batch: list[tuple[str, int, int]], first_offset: int) -> pa.RecordBatch:
    made: list[dict[str, Any]] = [
        {
            "id": message_id,
            "at": 0,
            "price": 1,
            "_partition": 0,
            "_offset": first_offset + i,
            "_timestamp": timestamp_us,
        }
        for i, (message_id, timestamp_us, _) in enumerate(batch)
    ]
    return pa.RecordBatch.from_pylist(made, schema=DEFINITION.stored_schema)


SPANS = st.dictionaries(
    st.integers(0, 2), st.tuples(st.integers(0, 90), st.integers(0, 40)), min_size=1
)


@given(
    groups=st.lists(SPANS, max_size=8),
    ends=st.tuples(*(st.integers(0, 100) for _ in range(3))),
    strip_rows=st.integers(1, 50),
)
def test_strips_cover_each_offset_once_in_order_and_stay_small(
    groups: list[dict[int, tuple[int, int]]], ends: tuple[int, ...], strip_rows: int
) -> None:
    made = [
        RowGroup(0, i, {p: Span(a, a + n, n + 1) for p, (a, n) in spans.items()})
        for i, spans in enumerate(groups)
    ]
    strips = list(plan_strips(made, dict.fromkeys(range(3), 0), dict(enumerate(ends)), strip_rows))

    for partition, end in enumerate(ends):
        mine = [s[partition] for s in strips if partition in s]
        assert [o for a, b in mine for o in range(a, b)] == list(range(end))
    # Each of the three partitions may be rounded up.
    assert all(sum(b - a for a, b in s.values()) <= strip_rows + 2 for s in strips)
    index = GroupIndex(made)
    for strip in strips:
        hit = {
            g.group
            for g in made
            for p, (a, b) in strip.items()
            if p in g.spans and g.spans[p].lowest < b and g.spans[p].highest >= a
        }
        assert {g.group for g in index.of(strip)} == hit


def test_neighbouring_offsets_are_one_range() -> None:
    assert list(runs(np.array([3, 4, 5, 9, 11, 12]))) == [(3, 6), (9, 10), (11, 13)]
    assert list(runs(np.array([], np.int64))) == []


def test_findings_are_bounded_and_still_counted() -> None:
    ledger = Ledger()
    for i in range(KEPT_FINDINGS + 5):
        ledger.add(Finding("offsets.once", "t", f"{i}"))

    assert len(ledger.findings) == KEPT_FINDINGS
    assert ledger.total() == KEPT_FINDINGS + 5
    with pytest.raises(KeyError):
        ledger.add(Finding("no.such.check", "t", ""))


def test_maps_are_equal_whatever_the_order_of_their_keys() -> None:
    kind = pa.map_(pa.string(), pa.string())
    one = pa.table({"m": pa.array([[("a", "1"), ("b", "2")], None, [("a", "1")]], kind)})
    two = pa.table({"m": pa.array([[("b", "2"), ("a", "1")], None, [("a", "2")]], kind)})

    assert {k: v.tolist() for k, v in differences(one, two, ["m"]).items()} == {"m": [2]}


# -- markers and commits

MARKER = Marker("trades", "topic-1", 1, "c1", {0: (5, 5, 5)}, {}, 5, 0, 0, 0, 0, "rules")


def commit(number: int, marker: Marker | None, added: int = 0, removed: int = 0) -> Commit:
    summary = {"total-records": "5"} | ({MARKER_KEY: marker.to_json()} if marker else {})
    return Commit(number, number, "append", summary, added, removed)


def facts(*newest_first: Commit, copy: str | None = None) -> TableFacts:
    return TableFacts("t", newest_first, {} if copy is None else {MARKER_KEY: copy})


def checks_of(*newest_first: Commit, copy: str | None = None) -> list[str]:
    ledger = Ledger()
    made = facts(*newest_first, copy=copy)
    check_commits(made, read_chain(made, ledger), ledger)
    return [f.check for f in ledger.findings]


def test_a_chain_that_grows_has_no_findings() -> None:
    later = replace(MARKER, next={0: (9, 9, 9), 1: (1, 1, 1)}, rows=4, commit_id="c2")

    assert checks_of(commit(2, later, 4), commit(1, MARKER, 5), copy=later.to_json()) == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"next": {0: (9, 4, 9)}}, "marker.monotone"),
        ({"next": {1: (9, 9, 9)}}, "marker.monotone"),
        ({"epoch": 0}, "marker.monotone"),
        ({"topic_id": "topic-2"}, "marker.topic"),
        ({"rows": 3}, "commits.rows"),
    ],
)
def test_a_marker_that_does_not_follow_the_one_before_is_found(
    changes: dict[str, Any], check: str
) -> None:
    later = replace(MARKER, **{"next": {0: (9, 9, 9)}, "rows": 4, "commit_id": "c2", **changes})

    assert checks_of(commit(2, later, 4), commit(1, MARKER, 5)) == [check]


def test_maintenance_that_carries_the_marker_forward_adds_nothing() -> None:
    assert checks_of(commit(2, MARKER, 5, 5), commit(1, MARKER, 5)) == []
    assert checks_of(commit(2, MARKER, 5, 4), commit(1, MARKER, 5)) == ["commits.rows"]


def test_other_writers_commits_count_together() -> None:
    assert checks_of(commit(3, None, 5), commit(2, None, 0, 5), commit(1, MARKER, 5)) == []
    assert checks_of(commit(3, None, 6), commit(2, None, 0, 5), commit(1, MARKER, 5)) == [
        "commits.foreign"
    ]


def test_a_newer_format_is_not_checked_and_says_so() -> None:
    text = MARKER.to_json().replace('"format":1', '"format":3')
    newer = Commit(1, 1, "append", {MARKER_KEY: text}, 5, 0)

    with pytest.raises(OperatorError, match="format 3, this version knows 2"):
        read_chain(facts(newer), Ledger())


@pytest.mark.parametrize("text", ["{", "[]", '{"format":1}', '{"format":"x"}'])
def test_an_unreadable_marker_is_a_finding(text: str) -> None:
    broken = Commit(2, 2, "append", {MARKER_KEY: text}, 0, 0)

    assert checks_of(broken, commit(1, MARKER, 5)) == ["marker.readable"]


def test_rows_without_a_marker_are_a_finding_and_an_empty_table_is_none() -> None:
    assert checks_of(commit(1, None)) == ["marker.present"]
    assert checks_of() == []


def test_a_file_out_of_log_order_is_found_if_the_sidecar_wrote_it() -> None:
    entry = FileEntry("p/f", "f", True, 1, 1, 10, 2)
    file = FileFacts(10, 2, disorder=(0, 4), digest=b"d")
    made = replace(facts(commit(1, MARKER, 5)), entries=(entry,))
    found = []
    for claimed in ({1}, set[int]()):
        ledger = Ledger()
        check_files(made, [file], claimed, ledger)
        found.append([(f.check, f.from_offset, f.file) for f in ledger.findings])

    assert found == [[("commits.order", 4, "f")], []]
