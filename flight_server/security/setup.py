"""The parts of authentication put together from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.security.attempts import AttemptLimiter
from flight_server.security.authenticator import Authenticator, HashingSlots
from flight_server.security.callers import Anonymous, ByCertificate, Callers, LoggedIn
from flight_server.security.listening import asks_who
from flight_server.security.login_tokens import LoginTokens
from flight_server.security.users import Users
from flight_server.security.users_file import watched_users
from flight_server.security.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.clock import Clock
    from flight_server.security.config import SecuritySettings
    from flight_server.security.web_tokens import WebTokens

_HASHINGS_MAX = 2  # passwords being hashed at once, 16 MiB and a core each
_HASHING_WAIT_S = 5.0


def make_callers(settings: SecuritySettings, clock: Clock, new_id: Callable[[], bytes]) -> Callers:
    """How the server asks who calls.

    `new_id`: at least 16 random bytes. Raises OperatorError for files that cannot be used.
    """
    if not asks_who(settings):
        return Anonymous(new_id)
    users = _users(settings, clock)
    if settings.client_identity == "certificate":
        return ByCertificate(users, new_id)
    authenticator = Authenticator(
        users,
        LoginTokens(clock, new_id() + new_id(), settings.token_ttl_s),
        AttemptLimiter(clock, new_id()),
        HashingSlots(_HASHINGS_MAX, _HASHING_WAIT_S),
        _web_tokens(settings, users, clock),
    )
    return LoggedIn(authenticator, new_id)


def _users(settings: SecuritySettings, clock: Clock) -> Callable[[], Users]:
    if settings.users_file is None:
        nobody = Users()
        return lambda: nobody
    return watched_users(settings.users_file, clock).current


def _web_tokens(
    settings: SecuritySettings, users: Callable[[], Users], clock: Clock
) -> WebTokens | None:
    if settings.jwt_keys is None:
        return None
    # Imported where it is used: cryptography takes longer to load than the rest of a login.
    from flight_server.security.web_tokens import WebTokens, parse_keys

    keys = Watched("--jwt-keys", settings.jwt_keys, parse_keys, clock, private=False)
    return WebTokens(keys, settings.jwt_issuer, settings.jwt_audience, users, clock)
