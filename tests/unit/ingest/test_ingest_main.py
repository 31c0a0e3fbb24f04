"""The command line of the sidecar, as far as nothing is started."""

from __future__ import annotations

import pytest

from ingest.__main__ import run
from ingest.app import OPERATOR


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--flush-row", "5"], "unknown setting --flush-row; the nearest is --flush-rows"),
        (["--flush-rows", "0"], "below the minimum"),
        (["--tables", "nothing"], "no table definition 'nothing'"),
        (["--tables", "trades,trades"], "table 'trades' is made by two definitions"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(flags, {})

    printed = capsys.readouterr()
    assert code == OPERATOR
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_help_names_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--help"], {})

    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--flush-interval-s NUMBER Oldest age of a row before it is committed (s; " in text
    assert "--accept-gaps" in text
