"""How a client names its session.

By the cookie `arrow_flight_session_id`, where it returns cookies: JDBC and ODBC always do, ADBC on
request. It has no Max-Age, on which Java would send it in another form. ADBC also takes an
`authorization` header from any answer and sends it from then on, so that the session travels there
as well: alone where no authentication uses it, else behind the token, which it does not change.

An id that ends in `.set` tells that the session has had options: after such a session is gone, its
client must be told, and all others may go on with the defaults.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flight_server.sessions import SessionRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COOKIE = "arrow_flight_session_id"
TOKEN_PREFIX = "highwater-session-"  # noqa: S105
_ID = r"([0-9a-f]{32,64})(\.set)?"
_IN_COOKIE = re.compile(rf'(?:^|;)\s*{COOKIE}="?{_ID}"?\s*(?:;|$)')
_BEHIND_TOKEN = re.compile(rf"(.*)~{_ID}")
_IN_TOKEN = re.compile(rf"Bearer {TOKEN_PREFIX}{_ID}")


def from_headers(headers: Mapping[str, Sequence[str]]) -> SessionRef | None:
    """The session that the cookie names, or else the token; None: the client has none yet."""
    found = [_IN_COOKIE.search(text) for text in headers.get("cookie", ())]
    found += [_IN_TOKEN.fullmatch(text) for text in headers.get("authorization", ())]
    first = next(filter(None, found), None)
    return None if first is None else SessionRef(first[1], first[2] is not None)


def headers_for(session: SessionRef) -> dict[str, str]:
    """Headers that give a client the cookie."""
    return {"set-cookie": f"{COOKIE}={_text(session)}; Path=/"}


def token_for(session: SessionRef) -> str:
    """A bearer token that names the session, and proves nothing."""
    return f"Bearer {TOKEN_PREFIX}{_text(session)}"


def joined(authorization: str, session: SessionRef) -> str:
    """`authorization` with the session behind it."""
    return f"{authorization}~{_text(session)}"


def split(authorization: str) -> tuple[str, SessionRef | None]:
    """What `joined` put together; None if there is no session behind."""
    found = _BEHIND_TOKEN.fullmatch(authorization)
    if found is None:
        return authorization, None
    return found[1], SessionRef(found[2], found[3] is not None)


def _text(session: SessionRef) -> str:
    return session.session_id + (".set" if session.set_something else "")
