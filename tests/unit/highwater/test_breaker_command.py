"""`highwater breaker` writes what the sidecar reads."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from contract.errors import RequestError
from contract.levels import Level
from highwater.breaker import run
from ingest.breaker import Pin
from ingest.pins import PinFile, pin_path
from tests.support.failpoints import HandClock

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_700_000_000.0


def command(home: Path, *words: str, now_s: float = NOW_S) -> int:
    return run([*words, "--data-dir", str(home)], {}, HandClock(now_s))


def read(home: Path) -> Pin | None:
    return PinFile(pin_path(home, "trades"))()


def test_a_pinned_level_is_read_with_its_reason_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tmp_path, "SEVERE", "--reason", "the catalog is  moved", "--for-s", "60")

    assert read(tmp_path) == Pin(Level.SEVERE, "the catalog is moved", NOW_S + 60)
    said = capsys.readouterr().out
    assert (
        said == "trades: pinned at SEVERE until 2023-11-14T22:14:20+00:00: the catalog is moved\n"
    )


def test_a_released_pin_is_gone(tmp_path: Path) -> None:
    command(tmp_path, "LIGHT", "--reason", "a test")

    command(tmp_path, "release")
    command(tmp_path, "release")

    assert read(tmp_path) is None


def test_a_pin_whose_time_is_over_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tmp_path, "LIGHT", "--reason", "a test", "--for-s", "10")
    capsys.readouterr()

    command(tmp_path, now_s=NOW_S + 11)

    assert capsys.readouterr().out == "trades: no level is pinned\n"


def test_each_table_has_a_pin_of_its_own(tmp_path: Path) -> None:
    command(tmp_path, "LIGHT", "--reason", "a test")

    assert PinFile(pin_path(tmp_path, "quotes"))() is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("SEVERE",), "--reason: a pin needs one"),
        (("SEVERE", "--reason", "  "), "--reason: a pin needs one"),
        (("HEAVY", "--reason", "x"), "'HEAVY' is none of NORMAL, LIGHT"),
        (("LIGHT", "--reason", "x", "--for-s", "0"), "below the minimum 1.0 s"),
    ],
)
def test_a_pin_without_reason_level_or_end_is_refused(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        command(tmp_path, *words)

    assert read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"level": "HEAVY", "reason": "x", "until_s": 1}',
     json.dumps({"level": "LIGHT", "reason": "x", "until_s": float("inf")})],
)  # fmt: skip
def test_what_is_no_pin_is_told_once_and_counts_as_none(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = pin_path(tmp_path, "trades")
    path.parent.mkdir()
    path.write_text(text)
    file = PinFile(path)

    with caplog.at_level(logging.WARNING):
        assert file() is None
        assert file() is None

    assert len(caplog.records) == 1
