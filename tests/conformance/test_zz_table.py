"""The document against this run; the last file of the folder, so that all others have run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.conformance import table

if TYPE_CHECKING:
    from tests.conformance.table import Recorder


def _documented() -> dict[int, str]:
    rows = [line for line in table.DOCUMENT.read_text(encoding="utf-8").splitlines() if line]
    numbered = [row for row in rows if row.startswith("| ") and row.split(" ")[1].isdigit()]
    return {int(row.split(" ")[1]): row for row in numbered}


def test_every_number_is_in_the_sheet_and_in_the_document() -> None:
    assert sorted(table.sheet()) == list(range(1, 54)) == sorted(_documented())


def test_every_number_has_a_check() -> None:
    for number, line in _documented().items():
        checks = int(line.split(" | ")[3])
        assert checks or table.sheet()[number].get("tests"), line


def test_tests_that_the_sheet_names_are_there() -> None:
    for row in table.sheet().values():
        for name in row.get("tests", ()):
            path, _, function = name.partition("::")
            tree = ast.parse((table.ROOT / path).read_text(encoding="utf-8"))
            assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, name


def test_the_document_says_what_this_run_found(
    recorder: Recorder, pytestconfig: pytest.Config
) -> None:
    ran = {nodeid.partition("::")[0].rpartition("/")[2] for nodeid in recorder.numbers}
    files = {path.name for path in table.FOLDER.glob("test_*.py")}
    chosen = any("::" in argument for argument in pytestconfig.args)
    if ran != files or chosen or pytestconfig.option.keyword:
        pytest.skip("only a part of the folder ran")
    made = table.lines(recorder.of_numbers())

    assert made
    documented = _documented()
    assert made == {number: documented[number] for number in made}
