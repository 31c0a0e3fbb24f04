"""Who a Flight call comes from: the three ways to ask, each with its hooks into pyarrow."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pyarrow import flight

from contract.errors import UnauthenticatedError
from flight_server.protocol import cookies, status
from flight_server.protocol.handshake import AcceptHandshake, AnonymousCallers, Caller
from flight_server.security.identity import NOBODY
from flight_server.sessions import SessionRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flight_server.security.authenticator import Authenticator
    from flight_server.security.identity import Identity
    from flight_server.security.users import Users

_NAME_CHARACTERS_SHOWN = 64
_log = logging.getLogger("highwater.security")


class Callers(Protocol):
    """How the server asks who calls."""

    @property
    def auth_handler(self) -> flight.ServerAuthHandler | None:
        """For Handshake; None, which refuses it, leaves the name in the certificate readable."""
        ...

    @property
    def middleware(self) -> flight.ServerMiddlewareFactory:
        """Makes a `handshake.Caller` before each call."""
        ...

    def identity(self, caller: Caller, context: flight.ServerCallContext) -> Identity:
        """Of the caller; UnauthenticatedError if nobody known calls."""
        ...


class _ByHeader:
    """The middleware has decided before the handler runs."""

    def __init__(self, middleware: flight.ServerMiddlewareFactory) -> None:
        self.auth_handler = AcceptHandshake()
        self.middleware = middleware

    def identity(self, caller: Caller, context: flight.ServerCallContext) -> Identity:  # noqa: ARG002
        """See `Callers`."""
        return caller.identity


class Anonymous(_ByHeader):
    """Everybody is let in and may do all; credentials are ignored."""

    def __init__(self, new_id: Callable[[], bytes]) -> None:
        super().__init__(AnonymousCallers(new_id))


class LoggedIn(_ByHeader):
    """Each call needs a token, or a password that gets one."""

    def __init__(self, authenticator: Authenticator, new_id: Callable[[], bytes]) -> None:
        super().__init__(_Login(authenticator, new_id))


class ByCertificate:
    """The certificate that the client shows names a user; there is no Handshake."""

    auth_handler = None

    def __init__(self, users: Callable[[], Users], new_id: Callable[[], bytes]) -> None:
        self._users = users
        self.middleware = AnonymousCallers(new_id, NOBODY)

    def identity(self, caller: Caller, context: flight.ServerCallContext) -> Identity:  # noqa: ARG002
        """See `Callers`."""
        name = context.peer_identity().decode("utf-8", "replace")
        user = self._users().by_name.get(name)
        if user is None:
            _log.info("no user %r, whom a certificate names", name[:_NAME_CHARACTERS_SHOWN])
            raise UnauthenticatedError("the name in the certificate is no user of this server")
        return user.identity


class _Login(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, authenticator: Authenticator, new_id: Callable[[], bytes]) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._new_id = new_id

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[str]]) -> Caller:
        """The caller of one RPC; what is raised ends the RPC, the Handshake as well."""
        try:
            given, session = cookies.split(_authorization(headers))
            admitted = self._authenticator.admit(given)
        except Exception as error:  # noqa: BLE001 - the outermost boundary
            raise status.translate(error, lambda: self._new_id().hex()[:8]) from None
        session = cookies.from_headers(headers) or session
        is_new = session is None or info.method == flight.FlightMethod.HANDSHAKE
        if session is None or is_new:
            session = SessionRef(self._new_id().hex())
        renamed = partial(_renamed, f"Bearer {admitted.token}" if admitted.token else given)
        answer = renamed(session) if is_new or admitted.token else {}
        return Caller(admitted.identity, session, answer, headers, renamed)


def _renamed(authorization: str, session: SessionRef) -> dict[str, str]:
    """The cookie, and for clients without cookies their own token with the session beside it."""
    return {
        **cookies.headers_for(session),
        "authorization": cookies.joined(authorization, session),
    }


def _authorization(headers: Mapping[str, Sequence[str]]) -> str:
    given = set(headers.get("authorization", ()))
    if len(given) > 1:
        raise UnauthenticatedError("the call has more than one authorization")
    return next(iter(given), "")
