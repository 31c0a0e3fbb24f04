"""The command's front: help, version, errors and exit codes."""

from __future__ import annotations

import pytest

from contract.errors import RequestError
from highwater.broker import parse_topic
from highwater.cli import available, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    printed = capsys.readouterr().out

    for command in available():
        assert f"  {command.name} " in printed
    assert main([], {}) == 0
    assert capsys.readouterr().out == printed


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], {}) == 0
    assert capsys.readouterr().out.startswith("highwater 0.")


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        (["brokr"], {}, "no command brokr; the nearest is broker"),
        (["feed"], {}, "the feeds are live, replay, synthetic"),
        (["broker", "--prot", "1"], {}, "unknown setting --prot; the nearest is --port"),
        (["broker", "--create-topic", "x"], {}, "'x' is not NAME:PARTITIONS"),
        (["sql", "select 1"], {"HIGHWATER_SQL_URL": "x"}, "HIGHWATER_SQL_URI"),
        (["feed", "replay", "no-such-file"], {}, "no-such-file cannot be read"),
        (["feed", "synthetic", "--late-share", "2"], {}, "--late-share: 2.0 is above"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_two(
    argv: list[str], environ: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, environ) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("highwater: ")
    assert words in line


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["broker"], ["demo"], ["sql"], ["verify"], ["feed", "replay"], ["feed", "live"]):
        with pytest.raises(SystemExit, match="0"):
            main([*argv, "--help"], {})
        assert "default" in capsys.readouterr().out


def test_a_feed_shows_its_kinds_when_asked_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "--help"], {}) == 0

    printed = capsys.readouterr().out
    assert all(kind in printed for kind in ("live", "replay", "synthetic"))


def test_a_topic_is_a_name_and_partitions() -> None:
    assert parse_topic("trades:4") == ("trades", 4)
    for wrong in ("", "trades", "trades:", ":4", "trades:0", "trades:x", "trades:1001"):
        with pytest.raises(RequestError, match="NAME:PARTITIONS"):
            parse_topic(wrong)
