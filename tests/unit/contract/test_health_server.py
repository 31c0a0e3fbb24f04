"""The health endpoint over real sockets: what it answers, and what can't hold it up."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from contract.errors import OperatorError
from contract.health import Code, Conditions
from contract.health_server import HealthServer, Reply, health_routes
from tests.support.stack import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK = SystemClock()


@pytest.fixture
def conditions() -> Conditions:
    return Conditions("serve", frozenset({Code.NO_VIEW}), CLOCK)


@pytest.fixture
def port(conditions: Conditions) -> Iterator[int]:
    """Of a server of these conditions."""
    found = free_port()
    with HealthServer(found, health_routes(conditions.document), CLOCK):
        yield found


def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def raw(port: int, sent: bytes) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(sent)
    return made


def test_a_living_process_is_healthy_and_a_ready_one_answers_200(port: int) -> None:
    assert get(port, "/healthz") == (200, b"alive\n")
    status, body = get(port, "/readyz?verbose")

    assert status == 200
    assert json.loads(body)["ready"] is True


def test_a_process_that_is_not_ready_answers_503_with_its_reasons(
    port: int, conditions: Conditions
) -> None:
    conditions.of("trades").set(Code.NO_VIEW, "the table has not been read yet")

    status, body = get(port, "/readyz")

    assert status == 503
    assert json.loads(body) == conditions.document()
    assert get(port, "/healthz")[0] == 200


def test_other_paths_and_methods_are_refused(port: int) -> None:
    assert get(port, "/")[0] == 404
    assert get(port, "/../readyz")[0] == 404
    assert get(port, "/readyz", "POST")[0] == 501
    assert get(port, "/readyz", "HEAD")[0] == 501


def test_a_process_adds_routes_of_its_own() -> None:
    port = free_port()

    def up() -> Reply:
        return Reply(HTTPStatus.OK, "text/plain", b"up 1\n")

    with HealthServer(port, {"/metrics": up}, CLOCK):
        assert get(port, "/metrics") == (200, b"up 1\n")


def test_a_port_in_use_is_an_error_that_names_the_flag(port: int, conditions: Conditions) -> None:
    with pytest.raises(OperatorError, match=f"port {port} .* --health-port"):
        HealthServer(port, health_routes(conditions.document), CLOCK)


def test_port_0_opens_nothing(conditions: Conditions) -> None:
    before = descriptors()
    with HealthServer(0, health_routes(conditions.document), CLOCK):
        assert descriptors() == before


def test_only_loopback_is_listened_on(port: int) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]

    assert [a for a in listening if int(a.rpartition(":")[2], 16) == port] == [
        f"0100007F:{port:04X}"
    ]


def test_a_client_that_sends_slowly_is_cut_off(port: int) -> None:
    begun_s = time.monotonic()
    with raw(port, b"GET /readyz HTTP/1.1\r\n") as slow:
        slow.settimeout(0.2)
        received = b"?"
        while received and time.monotonic() - begun_s < 10:
            try:
                slow.sendall(b"X: y\r\n")
                received = slow.recv(1)
            except TimeoutError:
                continue
            except OSError:
                break

    assert 0.5 < time.monotonic() - begun_s < 5


def test_many_idle_clients_neither_hold_it_up_nor_pile_up(port: int) -> None:
    idle = [raw(port, b"GET ") for _ in range(40)]
    try:
        wait_until(lambda: _answers(port), lambda: "it never answers", 10)
    finally:
        for each in idle:
            each.close()


def _answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except (OSError, urllib.error.URLError):
        return False


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"\xff\x00\r\n\r\n", b"GET " + b"x" * 20_000])
def test_what_is_not_http_does_no_harm(port: int, sent: bytes) -> None:
    with contextlib.suppress(OSError), raw(port, sent) as wrong:  # it may hang up at any time
        wrong.shutdown(socket.SHUT_WR)
        while wrong.recv(1_000):
            pass

    assert get(port, "/healthz")[0] == 200


def test_it_answers_a_process_without_free_descriptors(port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients: list[socket.socket] = [socket.socket() for _ in range(3)]
    taken: list[int] = []
    answers: list[Any] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 8, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for client in clients:
            client.settimeout(10)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answers.append(client.recv(1_000))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
        for client in clients:
            client.close()

    assert taken
    assert all(a.startswith(b"HTTP/1.0 200") for a in answers)
