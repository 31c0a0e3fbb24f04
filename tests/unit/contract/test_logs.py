"""Log lines: their two forms, and the library that repeats itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from contract.logs import CLIENT_LOGGER, JsonFormatter, Unrepeated, event, start_logging


def _record(text: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("name", logging.WARNING, "file", 1, text, None, info)


def test_a_json_line_has_time_level_logger_message_and_trace() -> None:
    line = json.loads(JsonFormatter().format(_record("went wrong", ValueError("why"))))

    assert line["level"] == "warning"
    assert line["logger"] == "name"
    assert line["message"] == "went wrong"
    assert "ValueError: why" in line["trace"]
    assert line["time"]


def test_a_repeated_line_passes_once_whatever_its_timing() -> None:
    unrepeated = Unrepeated()

    assert unrepeated.filter(_record("refused (after 0ms in state CONNECT)"))
    assert not unrepeated.filter(_record("refused (after 9ms in state CONNECT, 3 suppressed)"))
    assert unrepeated.filter(_record("another"))


def test_what_is_remembered_is_bounded() -> None:
    unrepeated = Unrepeated()
    for number in range(1_000):
        unrepeated.filter(_record(f"line {number}"))

    assert len(unrepeated._seen) <= 256
    assert unrepeated.filter(_record("line 0"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_logging_starts_in_the_form_of_the_settings(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    try:
        start_logging("info", form)
        logging.getLogger(CLIENT_LOGGER).info("from the client")
        logging.getLogger(CLIENT_LOGGER).info("from the client")
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("{") == (form == "json")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_has_named_values_in_both_forms(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    try:
        start_logging("info", form)
        event(root, logging.INFO, "level", before="LIGHT", value=0.25, reason="two words", limit="")
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]

    (line,) = capsys.readouterr().err.splitlines()
    if form == "text":
        assert line.endswith('INFO root level before=LIGHT value=0.25 reason="two words"')
    else:
        found = json.loads(line)
        assert (found["event"], found["before"], found["value"]) == ("level", "LIGHT", 0.25)
        assert (found["level"], "limit" in found) == ("info", False)


def test_a_signal_writes_what_every_thread_is_doing() -> None:
    program = """
import os, signal
from contract.logs import start_logging
start_logging("info", "text")
def standing_still():
    os.kill(os.getpid(), signal.SIGUSR1)
standing_still()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert "in standing_still" in done.stderr
