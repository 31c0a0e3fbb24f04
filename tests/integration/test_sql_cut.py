"""`highwater sql` at an earlier cut, and at least at one."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from highwater.cli import main
from tests.support.flight_fixture import serving
from tests.support.joint import Joint, sample_messages, uncommitted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGES = sample_messages()
COUNT = "select count(*) as n from trades"

Capture = pytest.CaptureFixture[bytes]


@pytest.fixture
def joint(tmp_path: Path) -> Joint:
    return uncommitted(tmp_path, 100)


@pytest.fixture
def uri(joint: Joint) -> Iterator[str]:
    with serving(joint.engine) as running:
        yield f"grpc://127.0.0.1:{running.port}"


def count(uri: str, capture: Capture, *argv: str) -> tuple[int, str]:
    """The number of rows, and what stands on standard error."""
    assert main(["sql", "--uri", uri, "--format", "json", *argv, COUNT], {}) == 0, (
        capture.readouterr()
    )
    captured = capture.readouterr()
    return json.loads(captured.out)[0]["n"], captured.err.decode()


def test_a_receipt_gives_the_same_rows_again(
    uri: str, joint: Joint, tmp_path: Path, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, receipt = count(uri, capsysbinary, "--receipt")
    file = tmp_path / "receipt.json"
    file.write_text(receipt)
    joint.follow(MESSAGES[100:300], 100)
    monkeypatch.setattr("sys.stdin", io.StringIO(receipt))

    assert before == 100
    assert count(uri, capsysbinary)[0] == 300
    for at in (str(file), receipt, "-"):
        again, again_receipt = count(uri, capsysbinary, "--at", at, "--receipt")
        assert again == 100
        cuts = [json.loads(r)["tables"]["trades"]["cut"] for r in (receipt, again_receipt)]
        assert cuts[0] == cuts[1]


def test_at_least_waits_fails_or_takes_what_there_is(
    uri: str, joint: Joint, capsysbinary: Capture
) -> None:
    there, beyond = '{"trades": {"0": 99}}', '{"trades": {"0": 100}}'

    assert count(uri, capsysbinary, "--at-least", there, "--policy", "fail")[0] == 100
    assert (
        count(uri, capsysbinary, "--at-least", beyond, "--policy", "stale", "--wait-s", "0")[0]
        == 100
    )
    for policy in ("wait", "fail"):
        argv = ["--at-least", beyond, "--policy", policy, "--wait-s", "0.05"]
        assert main(["sql", "--uri", uri, *argv, COUNT], {}) == 1
        said = capsysbinary.readouterr().err
        assert b"partition 0 stands at offset 100, asked for is 101" in said
    joint.follow(MESSAGES[100:300], 100)
    assert count(uri, capsysbinary, "--at-least", beyond)[0] == 300


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--at", "no-such-file"], "--at no-such-file: there is no such file"),
        (["--at", "{}"], "this is no receipt"),
        (["--at", "{}", "--at-least", "x"], "exclude each other"),
        (["--at-least", "soon"], "or a broker time"),
        (["--at", "{}", "--policy", "stale"], "fits --at-least only"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_the_server_is_asked(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", "--uri", "grpc://127.0.0.1:1", *argv, COUNT], {}) == 2
    assert words in capsys.readouterr().err
