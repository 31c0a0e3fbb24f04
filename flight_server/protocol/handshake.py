"""Who calls, and in which session: without any authentication, everybody is `anonymous`.

A server middleware holds both for each call. `flight_server.security.callers` has the factory
that asks for proof; handlers do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyarrow import flight

from flight_server.protocol import cookies
from flight_server.security.identity import EVERYBODY
from flight_server.sessions import SessionRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    """The identity of one call and its session.

    `renamed` gives the headers that tell the client another name of its session.
    """

    def __init__(
        self,
        identity: Identity,
        session: SessionRef,
        headers: Mapping[str, str],
        request_headers: Mapping[str, Sequence[str]],
        renamed: Callable[[SessionRef], Mapping[str, str]] = cookies.headers_for,
    ) -> None:
        self.identity = identity
        self.session = session
        self.request_headers = request_headers
        self.renamed = renamed
        self._headers = dict(headers)

    def sending_headers(self) -> dict[str, str]:
        """Headers for the client; asked twice for GetFlightInfo, so it must not count."""
        return self._headers


class AnonymousCallers(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Ignores credentials, and still gives clients that log in the bearer token they insist on."""

    def __init__(self, new_id: Callable[[], bytes], identity: Identity = EVERYBODY) -> None:
        super().__init__()
        self._new_id = new_id
        self._identity = identity

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[str]]) -> Caller:
        """The caller of one RPC."""
        session = cookies.from_headers(headers)
        if session is not None and info.method != flight.FlightMethod.HANDSHAKE:
            return Caller(self._identity, session, {}, headers, _renamed)
        session = session or SessionRef(self._new_id().hex())
        return Caller(self._identity, session, _renamed(session), headers, _renamed)


def _renamed(session: SessionRef) -> dict[str, str]:
    return {**cookies.headers_for(session), "authorization": cookies.token_for(session)}
