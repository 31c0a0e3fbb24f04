"""The page about the guarantees names tests that exist, and faults that the audit knows."""

from __future__ import annotations

import re
from pathlib import Path

from highwater.audit.schedule import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))

    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named
    assert named <= there


def test_every_fault_that_the_page_names_is_one_of_the_audit() -> None:
    named = {
        fault
        for found in re.findall(r"audit \(((?:`[a-z-]+`(?:, )?)+)\)", PAGE)
        for fault in re.findall(r"`([a-z-]+)`", found)
    } - {"regressions"}

    assert named
    assert named <= set(KINDS)
