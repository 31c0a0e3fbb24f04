"""`highwater verify` over real tables of a scripted log: what history may look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sidecar_world import POISON, trade
from tests.support.verify_world import ScriptedLab

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> ScriptedLab:
    return ScriptedLab(tmp_path)


def test_rows_dead_letters_duplicates_and_holes_are_all_accounted_for(lab: ScriptedLab) -> None:
    log = lab.world.log
    log.append(0, *(trade(f"a{i}", 10 * i) for i in range(12)))
    log.append(1, trade("b"), POISON, None, trade("b"), trade("c", 1), trade("d", 500), None)
    lab.ingest()

    assert lab.findings() == []
