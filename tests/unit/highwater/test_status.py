"""`highwater status` against health endpoints of this process."""

from __future__ import annotations

import json
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from contract.errors import RequestError
from contract.health import Code, Conditions
from contract.health_server import HealthServer, Reply, health_routes
from highwater.cli import main
from highwater.status import page, url_of
from tests.support.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = SystemClock()


class Processes:
    """The endpoints of a sidecar and a server."""

    def __init__(self, stack: ExitStack) -> None:
        self.ingest = Conditions("ingest", frozenset({Code.DISK_FULL}), CLOCK)
        self.serve = Conditions("serve", frozenset({Code.NO_VIEW}), CLOCK)
        self.ports = {"ingest": free_port(), "serve": free_port()}
        for name, conditions in (("ingest", self.ingest), ("serve", self.serve)):
            routes = health_routes(conditions.document)
            stack.enter_context(HealthServer(self.ports[name], routes, CLOCK))

    def flags(self, **other: Any) -> list[str]:
        return [f"--{name}={port}" for name, port in {**self.ports, **other}.items()]


@pytest.fixture
def processes() -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(stack)


def test_two_ready_processes_are_exit_code_0_and_their_figures(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    processes.ingest.of("trades").show(
        {"lag_messages": 5, "last_commit_at": None, "buffered_rows": 7, "data_files": 9}
    )
    processes.serve.of("trades").show({"state": "complete", "lag_messages": 0, "tail_rows": 12})

    assert main(["status", *processes.flags()], {}) == 0

    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].startswith("ingest: ready for ")
    head = "table lag messages last commit buffered rows data files last maintenance"
    assert " ".join(lines[1].split()) == head
    assert lines[3].split() == ["trades", "5", "never", "7", "9", "never"]
    assert lines[5].startswith("serve: ready for ")
    assert lines[8].split() == ["trades", "complete", "0", "-", "12", "-"]


def test_one_that_is_not_ready_is_exit_code_1_with_its_reasons(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    processes.ingest.of("trades").set(Code.DISK_FULL, "no space left; it is tried again")
    processes.ingest.of("").set(Code.STOPPING, "as asked")

    assert main(["status", *processes.flags()], {}) == 1

    out = capsys.readouterr().out
    assert "ingest: NOT READY for 0." in out
    assert "  disk_full [trades] for 0." in out
    assert ": no space left; it is tried again\n" in out
    assert "  stopping for 0." in out
    assert "serve: ready" in out


def test_a_process_that_does_not_run_is_exit_code_2_and_one_clear_line(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = free_port()

    assert main(["status", *processes.flags(ingest=nobody)], {}) == 2

    printed = capsys.readouterr()
    assert printed.err == (
        f"ingest: connection refused at 127.0.0.1:{nobody}: is `highwater ingest` running?\n"
    )
    assert printed.out.startswith("serve: ready")


def test_json_holds_what_the_processes_say(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = free_port()

    code = main(["status", *processes.flags(ingest=nobody), "--format=json"], {})

    printed = json.loads(capsys.readouterr().out)
    assert code == 2
    assert printed["serve"] == processes.serve.document()
    assert "connection refused" in printed["ingest"]["error"]


def test_a_process_can_be_left_out(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", *processes.flags(ingest="none")], {}) == 0
    assert capsys.readouterr().out.startswith("serve: ready")
    assert main(["status", "--ingest=none", "--serve=none"], {}) == 2


def test_somebody_else_at_that_port_is_named(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = {"ingest": processes.ports["serve"], "serve": processes.ports["ingest"]}
    assert main(["status", *processes.flags(**swapped)], {}) == 2
    assert "is `highwater serve`, not `ingest`" in capsys.readouterr().err

    def stranger() -> Reply:
        return Reply(HTTPStatus.OK, "text/html", b"<html>")

    port = free_port()
    with HealthServer(port, {"/readyz": stranger}, CLOCK):
        assert main(["status", *processes.flags(serve=port)], {}) == 2
    assert "is not `highwater serve`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ("31338", "http://127.0.0.1:31338/readyz"),
        ("box:1", "http://box:1/readyz"),
        ("http://box:1", "http://box:1/readyz"),
        ("http://box:1/readyz", "http://box:1/readyz"),
    ],
)
def test_a_process_is_named_by_port_or_url(where: str, url: str) -> None:
    assert url_of(where, "--serve") == url


@pytest.mark.parametrize("where", ["", "x", "box:", ":1", "https://box:1", "file:///etc/passwd"])
def test_what_is_neither_port_nor_url_is_refused(where: str) -> None:
    with pytest.raises(RequestError, match="neither a port nor"):
        url_of(where, "--serve")


@pytest.mark.parametrize(
    ("later_s", "words"), [(1.26, "1.3 s"), (119, "119.0 s"), (600, "10 min"), (90_000, "25 h")]
)
def test_times_are_told_as_a_person_would(later_s: float, words: str) -> None:
    found = {
        "process": "serve",
        "ready": True,
        "since": "1970-01-01T00:16:40.000+00:00",
        "reasons": [],
        "tables": {},
    }

    assert page(found, 1_000 + later_s) == f"serve: ready for {words}"
