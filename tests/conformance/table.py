"""The table of `docs/conformance.md`: made from the sheet and the outcomes of a run.

`make conformance` runs the folder, and writes the table anew.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
DOCUMENT = ROOT / "docs" / "conformance.md"
_NUMBERS = re.compile(r"\d+(?:, \d+)*")
_HEAD = """# Conformance

Flight SQL as stock clients speak it: 53 tests, by the numbers of `tests/conformance/sheet.toml`.
This table is made from a run of `tests/conformance` (`make conformance`), and a test compares
it with each further run. *Checks* counts what ran and passed; where a client cannot be run there,
the last column says what stands in for it.

| | client | call | checks | by |
|---|---|---|---|---|
"""


class Recorder:
    """A pytest plugin: which tests belong to which number, and how they ended."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = {}
        self.outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            if FOLDER in item.path.parents:
                self.numbers[item.nodeid] = _numbers(item)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome

    def of_numbers(self) -> Mapping[int, list[str | None]]:
        """The outcomes of each number; None for a test that did not run."""
        found: dict[int, list[str | None]] = defaultdict(list)
        for nodeid, numbers in self.numbers.items():
            for number in numbers:
                found[number].append(self.outcomes.get(nodeid))
        return found


def _numbers(item: Any) -> list[int]:
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")
    if isinstance(case, dict) and "number" in case:
        return [case["number"]]
    found = _NUMBERS.match(item.function.__doc__ or "")
    return [int(number) for number in found.group().split(", ")] if found else []


def sheet() -> dict[int, dict[str, Any]]:
    """The 53 tests."""
    text = (FOLDER / "sheet.toml").read_text(encoding="utf-8")
    return {int(number): row for number, row in tomllib.loads(text).items()}


def lines(outcomes: Mapping[int, list[str | None]]) -> dict[int, str]:
    """The line of each number of which all checks of this folder ran and passed."""
    made = {}
    for number, row in sheet().items():
        found = outcomes.get(number, [])
        if any(outcome != "passed" for outcome in found):
            continue
        elsewhere = [f"`{test}`" for test in row.get("tests", ())]
        by = "; ".join([row.get("stands_in", ""), *elsewhere]).strip("; ")
        made[number] = f"| {number} | {row['client']} | {row['call']} | {len(found)} | {by} |"
    return made


def main() -> int:
    """Run the folder and write the document; the exit code of the run."""
    recorder = Recorder()
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(FOLDER)], plugins=[recorder])
    made = lines(recorder.of_numbers())
    missing = sorted(sheet().keys() - made.keys())
    if missing:
        sys.stderr.write(f"not all checks of {missing} passed: the document is left as it was\n")
        return int(code) or 1
    DOCUMENT.write_text(_HEAD + "\n".join(made.values()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
