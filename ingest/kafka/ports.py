"""Ports of loopback for the embedded broker."""

from __future__ import annotations

import itertools
import os
import socket

from contract.errors import OperatorError

HOST = "127.0.0.1"
# Below the ephemeral ports: a client that keeps trying a port of that range while nobody listens
# is one day given the same port for its own end, connects to itself, and holds it.
_FIRST, _COUNT = 20_000, 12_000
_tries = itertools.count(os.getpid() * 97)  # processes that start together begin apart


def free_port() -> int:
    """A loopback TCP port that nobody uses at this moment, another one each time."""
    for _ in range(_COUNT):
        port = _FIRST + next(_tries) % _COUNT
        if _is_free(port):
            return port
    raise OperatorError(f"no port from {_FIRST} to {_FIRST + _COUNT - 1} is free")


def require_free(port: int, flag: str) -> None:
    """Raise OperatorError, naming the port and the flag that changes it, if the port is in use."""
    if not _is_free(port):
        raise OperatorError(f"port {port} is in use: choose another with {flag}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: past TIME_WAIT
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
