"""The audit itself: a run under every fault finds nothing, and finds each bug that is planted."""

from __future__ import annotations

import json
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from highwater.audit.command import audited
from highwater.audit.config import AuditSettings
from highwater.audit.schedule import KINDS
from highwater.audit.stack import Commands
from tests.support.broker import JARS

if TYPE_CHECKING:
    from pathlib import Path

SEED = 11
HALTED_BEFORE_A_COMMIT = 12  # the seed whose first zombie is halted there


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory that has the broker's program already."""
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "jars").symlink_to(JARS)
    return tmp_path


def planted(bug: str) -> tuple[str, ...]:
    """The command of a process with that bug."""
    return (sys.executable, "-m", "tests.support.planted", bug)


def run(
    capsys: pytest.CaptureFixture[str], settings: AuditSettings, commands: Commands | None = None
) -> tuple[int, dict[str, Any], str]:
    """Exit code, last line, and all that was said."""
    code = audited(settings, commands or Commands(), Event())
    said = capsys.readouterr().out
    return code, json.loads(said.splitlines()[-1]), said


@pytest.mark.timeout(600)
def test_every_answer_is_exact_under_every_kind_of_fault(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = AuditSettings(
        data_dir=data_dir,
        seconds=400,
        rounds=1,
        seed=SEED,
        flush_interval_s=0.3,
        spacing_s=0.2,
        reask=200,
    )
    code, result, said = run(capsys, settings)

    assert code == 0, said
    assert result["faults"].pop("foreign-compaction") >= 1  # more where files grow in number
    assert result["faults"] == dict.fromkeys(set(KINDS) - {"foreign-compaction"}, 1)
    assert result["answers"] > 500
    assert result["reasked"] + result["reask_refused"] == 200
    assert result["reasked"] > 100
    assert result["dropped_duplicates"] > 0
    assert result["dead_letters"] > 0
    assert result["late"] > 0
    assert len(result["questions"]) == 13
    assert not list((data_dir / "audit").iterdir())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("bug", ["cut_off_by_one", "trimmed_too_early"])
def test_rows_that_a_server_leaves_out_at_the_seam_are_gaps(
    bug: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = AuditSettings(
        data_dir=data_dir, seconds=6, faults=("none",), seed=SEED, flush_interval_s=0.3
    )
    code, result, said = run(capsys, settings, Commands(server=planted(bug)))

    assert code == 1
    assert result["gaps"] > 0, said
    assert "FOUND gaps: select" in said
    assert list((data_dir / "audit").iterdir())


@pytest.mark.timeout(200)
def test_rows_that_a_zombie_puts_on_top_of_its_successor_are_duplicates(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = AuditSettings(
        data_dir=data_dir,
        seconds=60,
        rounds=1,
        faults=("zombie",),
        seed=HALTED_BEFORE_A_COMMIT,
        spacing_s=1.0,
        flush_interval_s=0.3,
    )
    code, result, said = run(capsys, settings, Commands(sidecar=planted("retries_left_on")))

    assert code == 1
    assert result["duplicates"] > 0, said
