"""`/healthz` and `/readyz` on loopback: a small HTTP server that a broken client can't hold up.

A process adds what else it has to tell (metrics, say) as one more route.
"""

from __future__ import annotations

import io
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self

from contract.errors import OperatorError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from contract.clock import Clock

HOST = "127.0.0.1"
_REQUESTS_MAX = 4  # at once; further ones are hung up on
_REQUEST_S = 1.0  # for a request to arrive, and for a reply to be taken
_HEAD_BYTES_MAX = 8 * 1024
_AFTER_FAILURE_S = 0.1
_SPARES = 8  # descriptors; whoever waits for one may be faster than we are
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a route answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


def health_routes(document: Callable[[], Mapping[str, Any]]) -> dict[str, Callable[[], Reply]]:
    """`/healthz`: the process is alive. `/readyz`: its `document`, 503 unless that is ready."""

    def ready() -> Reply:
        found = document()
        status = HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
        return Reply(status, "application/json", json.dumps(found).encode() + b"\n")

    def alive() -> Reply:
        return Reply(HTTPStatus.OK, "text/plain; charset=utf-8", b"alive\n")

    return {"/healthz": alive, "/readyz": ready}


class HealthServer:
    """Answers GET on a port of loopback from `start` to `stop`; port 0: nothing is opened.

    It answers as well when the process is out of file descriptors: a few are kept for that.
    """

    def __init__(self, port: int, routes: Mapping[str, Callable[[], Reply]], clock: Clock) -> None:
        """Listen. OperatorError if the port is taken."""
        self._server: _Server | None = None
        if not port:
            return
        try:
            self._server = _Server((HOST, port), partial(_Request, routes, clock), clock)
        except OSError as error:
            raise OperatorError(
                f"port {port} cannot be listened on: choose another with --health-port, or 0 for "
                "no health endpoint"
            ) from error

    def start(self) -> None:
        """Begin to answer."""
        if self._server is not None:
            serve = partial(self._server.serve_forever, poll_interval=_AFTER_FAILURE_S)
            threading.Thread(target=serve, name="health", daemon=True).start()

    def stop(self) -> None:
        """Stop listening; after `start` only."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def __enter__(self) -> Self:
        """Begin to answer."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self.stop()


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], handler: Any, clock: Clock) -> None:
        self._clock = clock
        self._free = threading.BoundedSemaphore(_REQUESTS_MAX)
        self._keeping = threading.Lock()
        self._wanted = _SPARES
        self._spares: list[int] = []
        self._keep_spares()
        super().__init__(address, handler)  # closes everything if it can't listen

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; with a spare descriptor where there is no other."""
        while True:
            try:
                request = super().get_request()
            except OSError:
                if not self._close_spare():
                    self._clock.sleep(_AFTER_FAILURE_S)  # the connection waits: no turn would rest
                    self._keep_spares()
                    raise
            else:
                self._keep_spares()
                return request

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, or hang up if there are enough of them."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()
            self._keep_spares()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or sent something else than HTTP, is not worth a line."""

    def server_close(self) -> None:
        super().server_close()
        self._wanted = 0
        while self._close_spare():
            pass

    def _close_spare(self) -> bool:
        """Whether there was one."""
        with self._keeping:
            if not self._spares:
                return False
            os.close(self._spares.pop())
            return True

    def _keep_spares(self) -> None:
        with self._keeping, suppress(OSError):
            while len(self._spares) < self._wanted:
                self._spares.append(os.open(os.devnull, os.O_RDONLY))


class _Request(BaseHTTPRequestHandler):
    def __init__(
        self, routes: Mapping[str, Callable[[], Reply]], clock: Clock, *request: Any
    ) -> None:
        self._routes = routes
        self._clock = clock
        super().__init__(*request)

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(io.BytesIO(self._head()))

    def do_GET(self) -> None:
        route = self._routes.get(self.path.partition("?")[0])
        if route is None:
            self.send_error(HTTPStatus.NOT_FOUND, f"there are {', '.join(self._routes)}")
            return
        reply = route()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Probes come every few seconds: no line for each."""

    def _head(self) -> bytes:
        """The request, as far as it comes in time and is not too long."""
        until_s = self._clock.monotonic_s() + _REQUEST_S
        head = b""
        while _END_OF_HEAD not in head and len(head) < _HEAD_BYTES_MAX:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            self.connection.settimeout(left_s)
            received = self.connection.recv(_HEAD_BYTES_MAX)
            if not received:
                break
            head += received
        self.connection.settimeout(_REQUEST_S)
        return head if _END_OF_HEAD in head else b""
