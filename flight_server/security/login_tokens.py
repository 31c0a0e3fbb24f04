"""Bearer tokens that a login gets: signed, so that the server keeps nothing for each of them."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from flight_server.security.passwords import unpadded, urlsafe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.clock import Clock
    from flight_server.security.users import User

PREFIX = "hws_"


class LoginTokens:
    """Issues and checks them. One ends with its time, its process, its user or its password."""

    def __init__(self, clock: Clock, key: bytes, ttl_s: float) -> None:
        """`key`: 32 random bytes of this process."""
        self._clock = clock
        self._key = key
        self._ttl_s = ttl_s

    def issue(self, user: User) -> str:
        """A token for a user who has just shown a password."""
        expires_s = int(self._clock.monotonic_s() + self._ttl_s)
        payload = f"{expires_s}:{user.name}".encode()
        return f"{PREFIX}{urlsafe(payload)}.{urlsafe(self._signature(payload, user))}"

    def user(self, token: str, users: Mapping[str, User]) -> User | None:
        """Whose token it is; None if it is none of ours, has expired, or its user has changed."""
        try:
            head, _, signature = token.removeprefix(PREFIX).partition(".")
            payload, given = unpadded(head), unpadded(signature)
            expires_s, _, name = payload.decode().partition(":")
        except ValueError:
            return None
        user = users.get(name)
        if user is None or not hmac.compare_digest(self._signature(payload, user), given):
            return None
        return user if self._clock.monotonic_s() < int(expires_s) else None

    def _signature(self, payload: bytes, user: User) -> bytes:
        password = b"" if user.password is None else user.password.digest
        return hmac.digest(self._key, password + payload, "sha256")
