"""What is kept of a benchmark's run."""

from __future__ import annotations

import json

import pytest

from benchmarks.harness import Report
from benchmarks.record import entry


def test_the_last_line_of_a_benchmark_is_kept_whole_with_day_revision_and_note() -> None:
    report = Report("example", quick=True)
    report.figure("answer_ms", 1.5)
    report.at_most("answer_ms", 1.5, 1.0)

    kept = entry(report.as_json(), "busy")

    assert kept["benchmark"] == "example"
    assert kept["figures"] == {"answer_ms": 1.5}
    assert kept["goals"]["answer_ms"]["met"] is False
    assert kept["quick"] is True
    assert kept["note"] == "busy"
    assert kept["machine"]["datafusion"]
    assert len(kept["recorded_on"]) == len("2026-01-01")
    assert kept["revision"]


@pytest.mark.parametrize("line", ["done", "[]", "3", json.dumps({"figures": {}}), ""])
def test_another_last_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        entry(line, "")
