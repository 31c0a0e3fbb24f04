"""Which marker holds: summaries of the ancestry first, the property where they are silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.ancestry import marker_of
from contract.errors import OperatorError
from contract.marker import MARKER_KEY
from flight_server.lake.snapshot import SnapshotInfo
from tests.support.lake_tables import a_marker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.marker import Marker


def snapshot(number: int, marker: Marker | None = None) -> SnapshotInfo:
    return SnapshotInfo(
        snapshot_id=number * 100,
        parent_id=None if number == 1 else (number - 1) * 100,
        sequence_number=number,
        committed_at_ms=number,
        operation="append",
        summary={} if marker is None else {MARKER_KEY: marker.to_json()},
    )


def found(
    ancestry: Sequence[SnapshotInfo],
    others: Sequence[SnapshotInfo] = (),
    copy: Marker | None = None,
    *,
    stores_offsets: bool = True,
) -> str | None:
    properties = {} if copy is None else {MARKER_KEY: copy.to_json()}
    marker = marker_of(ancestry, others, properties, stores_offsets=stores_offsets)
    return None if marker is None else marker.commit_id


C1, C2, C3 = a_marker("c1", 10), a_marker("c2", 20), a_marker("c3", 30)


def test_the_nearest_marker_of_the_ancestry_wins() -> None:
    ancestry = [snapshot(4), snapshot(3, C2), snapshot(2, C1), snapshot(1)]

    assert found(ancestry) == "c2"
    assert found(ancestry, copy=C2) == "c2"


def test_a_copy_that_is_older_than_the_summary_is_passed_over() -> None:
    assert found([snapshot(2, C2)], copy=C1) == "c2"


def test_a_copy_that_is_ahead_is_explained_by_a_snapshot_rolled_back() -> None:
    assert found([snapshot(1, C1)], [snapshot(2, C3)], copy=C3) == "c1"
    with pytest.raises(OperatorError, match="ahead"):
        found([snapshot(1, C1)], [snapshot(2, C2)], copy=C3)


def test_the_copy_holds_where_the_ancestry_is_cut_off() -> None:
    assert found([snapshot(7), snapshot(6)], copy=C1) == "c1"


def test_a_cut_off_ancestry_is_not_taken_for_the_branch_rolled_back() -> None:
    with pytest.raises(OperatorError, match="does not hold"):
        found([snapshot(6)], [snapshot(7, C3)], copy=C3)


def test_a_complete_ancestry_without_a_marker_says_that_there_was_none() -> None:
    assert found([snapshot(2), snapshot(1)]) is None
    assert found([]) is None
    assert found([snapshot(1)], [snapshot(2, C1)], copy=C1) is None, "rolled back to before it"
    with pytest.raises(OperatorError, match="does not hold"):
        found([snapshot(1)], copy=C1)
    with pytest.raises(OperatorError, match="does not hold"):
        found([], copy=C1)


def test_a_lost_marker_is_an_error_only_for_a_table_of_ours() -> None:
    assert found([snapshot(5)], stores_offsets=False) is None
    with pytest.raises(OperatorError, match="older snapshots were expired"):
        found([snapshot(5)], stores_offsets=True)


def test_a_broken_marker_of_a_snapshot_aside_explains_nothing() -> None:
    broken = SnapshotInfo(9, 1, 9, 9, "append", {MARKER_KEY: "not a marker"})

    with pytest.raises(OperatorError, match="ahead"):
        found([snapshot(1, C1)], [broken], copy=C3)
