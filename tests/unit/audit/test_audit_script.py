"""Orders to a sidecar: each strikes once, at its place and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from highwater.audit.script import KILL, LOSE, LostError, Script

if TYPE_CHECKING:
    from pathlib import Path


def test_an_order_strikes_once_at_its_place(tmp_path: Path) -> None:
    script = Script(tmp_path / "orders")
    script("rows.before_write")
    script.order("commit.response", LOSE)
    script("rows.before_write")
    assert not script.taken()
    with pytest.raises(LostError, match=r"lost at commit\.response"):
        script("commit.response")

    assert script.taken()
    script("commit.response")


def test_a_new_order_is_not_taken_yet(tmp_path: Path) -> None:
    script = Script(tmp_path / "orders")
    for _ in range(2):
        script.order("a", LOSE)
        assert not script.taken()
        with pytest.raises(LostError):
            script("a")


def test_a_kill_ends_the_process_that_comes_to_the_place(tmp_path: Path) -> None:
    script = Script(tmp_path / "orders")
    script.order("here", KILL)
    code = (
        "import pathlib, sys; from highwater.audit.script import Script; "
        "script = Script(pathlib.Path(sys.argv[1])); "
        "script('there'); script('here'); print('alive')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "orders")], capture_output=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (-9, b"")
    assert script.taken()
