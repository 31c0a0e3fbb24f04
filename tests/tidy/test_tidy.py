"""Limits of style that no linter checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "ingest", "flight_server", "highwater", "benchmarks", "tests")
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not path.name.endswith("_pb2.py")
)
SHIPPED = [
    path for path in SOURCES if path.relative_to(ROOT).parts[0] not in {"tests", "benchmarks"}
]
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
# Addresses of package indexes and paths of one machine have no place in the project.
FOREIGN = re.compile(
    r"(?:index-url|find-links)\b|(?:^|[\s\"'=(])/(?:work|root|home)/", re.MULTILINE
)


def named(paths: list[Path]) -> list[ParameterSet]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("path", named(SHIPPED))
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", named(SOURCES))
def test_a_function_fits_on_a_screen(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]

    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}

    assert {name: size for name, size in lengths.items() if size > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("path", named(SOURCES))
def test_nothing_is_left_to_be_done_later(path: Path) -> None:
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []


def test_no_address_of_an_index_and_no_path_of_a_machine_is_kept() -> None:
    kept = [*ROOT.glob("*.toml"), *ROOT.glob("*.lock"), *ROOT.glob("*.md"), *SOURCES]
    kept += [*(ROOT / "docs").rglob("*.md"), ROOT / ".ci" / "run"]

    found = {
        str(path.relative_to(ROOT)): FOREIGN.findall(path.read_text(encoding="utf-8"))
        for path in kept
        if path != Path(__file__)
    }

    assert {name: hits for name, hits in found.items() if hits} == {}
