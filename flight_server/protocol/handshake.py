"""Who calls: without any authentication set up, everybody is `anonymous`.

A server middleware holds the identity of each call. `flight_server.security.callers` has the
factory that asks for proof; handlers do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyarrow import flight

from flight_server.security.identity import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flight_server.security.identity import Identity

CALLER = "highwater.caller"  # the key under which the server registers the factory


class AcceptHandshake(flight.ServerAuthHandler):  # type: ignore[misc]
    """Accepts each Handshake: without a handler, C++ answers UNIMPLEMENTED before any middleware.

    It must not read: Go sends no message at all, JDBC and ODBC one empty one.
    """

    def authenticate(self, outgoing: flight.ServerAuthSender, incoming: object) -> None:
        """Ask nothing."""

    def is_valid(self, token: bytes) -> bytes:  # noqa: ARG002
        """Called for each RPC; the principal is the middleware's business."""
        return b""


class Caller(flight.ServerMiddleware):  # type: ignore[misc]
    """The identity of one call."""

    def __init__(self, identity: Identity, headers: Mapping[str, str]) -> None:
        self.identity = identity
        self._headers = dict(headers)

    def sending_headers(self) -> dict[str, str]:
        """Headers for the client; asked twice for GetFlightInfo, so it must not count."""
        return self._headers


class AnonymousCallers(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Ignores credentials, and still gives clients that log in the bearer token they insist on."""

    def start_call(
        self,
        info: flight.CallInfo,
        headers: Mapping[str, Sequence[str]],  # noqa: ARG002
    ) -> Caller:
        """The caller of one RPC."""
        logs_in = info.method == flight.FlightMethod.HANDSHAKE
        return Caller(EVERYBODY, {"authorization": "Bearer anonymous"} if logs_in else {})
