"""Who calls: without any authentication set up, everybody is `anonymous`.

A server middleware names the principal of each call. Another factory whose middleware has a
`principal` replaces this one; handlers do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyarrow import flight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALLER = "highwater.caller"  # the key under which the server registers the factory
ANONYMOUS = "anonymous"


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
    """The principal of one call."""

    def __init__(self, principal: str, headers: Mapping[str, str]) -> None:
        self.principal = principal
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
        return Caller(ANONYMOUS, {"authorization": "Bearer anonymous"} if logs_in else {})
