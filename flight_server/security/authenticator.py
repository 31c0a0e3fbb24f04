"""The `authorization` header of a call -> who calls. Headers in, identities out; no Flight."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import UnauthenticatedError, UnavailableError
from flight_server.security.login_tokens import PREFIX as LOGIN_PREFIX
from flight_server.security.passwords import (
    DECOY,
    PASSWORD_BYTES_MAX,
    token_digest,
    unpadded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flight_server.security.attempts import AttemptLimiter
    from flight_server.security.identity import Identity
    from flight_server.security.login_tokens import LoginTokens
    from flight_server.security.users import User, Users
    from flight_server.security.web_tokens import WebTokens

STATIC_PREFIX = "hwt_"
_HEADER_CHARACTERS_MAX = 8192

_NO_CREDENTIALS = "log in: this server asks for a user and password, or for a bearer token"
_WRONG_LOGIN = "the user or the password is wrong"
_WRONG_TOKEN = "the token is unknown or has expired: log in again"  # noqa: S105 - a text


@dataclass(frozen=True)
class Admitted:
    """Who may come in; `token`: what a login gets for its further calls, else empty."""

    identity: Identity
    token: str = ""


class HashingSlots:
    """At most `slots_max` passwords are hashed at once; a further login waits `wait_s`."""

    def __init__(self, slots_max: int, wait_s: float) -> None:
        self._free = threading.BoundedSemaphore(slots_max)
        self._wait_s = wait_s

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; UnavailableError if none gets free in time."""
        if not self._free.acquire(timeout=self._wait_s):
            raise UnavailableError("many logins are being checked: try again in a moment")
        try:
            yield
        finally:
            self._free.release()


class Authenticator:
    """Checks what calls come with. Thread-safe; a login takes about 0.1 s, a token microseconds.

    Raises UnauthenticatedError in the same words whatever was wrong with a login, and
    UnavailableError while too many are being checked.
    """

    def __init__(
        self,
        users: Callable[[], Users],
        tokens: LoginTokens,
        attempts: AttemptLimiter,
        hashing: HashingSlots,
        web_tokens: WebTokens | None = None,
    ) -> None:
        """`users`: those of now."""
        self._users = users
        self._tokens = tokens
        self._attempts = attempts
        self._hashing = hashing
        self._web_tokens = web_tokens

    def admit(self, authorization: str | None) -> Admitted:
        """Who comes with this header."""
        if not authorization:
            raise UnauthenticatedError(_NO_CREDENTIALS)
        scheme, _, value = authorization[:_HEADER_CHARACTERS_MAX].partition(" ")
        if scheme.lower() == "basic":
            user = self._logged_in(value.strip())
            return Admitted(user.identity, self._tokens.issue(user))
        if scheme.lower() == "bearer":
            return Admitted(self._of_token(value.strip()))
        raise UnauthenticatedError(_NO_CREDENTIALS)

    def _logged_in(self, credentials: str) -> User:
        try:
            name, colon, password = unpadded(credentials).decode().partition(":")
        except ValueError:
            raise UnauthenticatedError(_WRONG_LOGIN) from None
        if not colon or len(password.encode()) > PASSWORD_BYTES_MAX:
            raise UnauthenticatedError(_WRONG_LOGIN)
        with self._hashing.taken():
            wait_s = self._attempts.begin(name)
            if wait_s > 0:
                raise UnauthenticatedError(
                    f"too many failed logins for this user: try again in {wait_s:.0f} s"
                )
            user = self._users().by_name.get(name)
            kept = user.password if user is not None else None
            if not (kept or DECOY).matches(password) or user is None or kept is None:
                raise UnauthenticatedError(_WRONG_LOGIN)
        self._attempts.succeeded(name)
        return user

    def _of_token(self, token: str) -> Identity:
        users = self._users()
        if token.startswith(LOGIN_PREFIX):
            user = self._tokens.user(token, users.by_name)
        else:
            user = users.by_digest.get(token_digest(token))
        if user is not None:
            return user.identity
        if self._web_tokens is not None and token.count(".") == 2:
            return self._web_tokens.identity(token)
        raise UnauthenticatedError(_WRONG_TOKEN)
