"""The session actions; their bodies are raw messages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contract.errors import RequestError
from flight_server.options import CATALOG, CUT_OPTIONS, OPTIONS
from flight_server.protocol import sessions as messages

if TYPE_CHECKING:
    from flight_server.handlers.values import Call
    from flight_server.options import SessionOptions
    from flight_server.sessions import Sessions


# JDBC sends every property of its URL that it does not know as a header, as ODBC does.
# The words that name a cut have headers of their own.
_AS_HEADERS = tuple(OPTIONS.keys() - {CATALOG, *CUT_OPTIONS})


def options_of(call: Call, sessions: Sessions) -> SessionOptions:
    """The options of the caller's session, and over them those in the headers of this call."""
    options = sessions.options(call.principal, call.session)
    sent = {name: call.headers[name][-1] for name in _AS_HEADERS if name in call.headers}
    if not sent:
        return options
    options, refused = options.changed(sent)
    for name, reason in refused.items():
        raise RequestError(f"the header {name}: {reason}")
    return options


class SessionActions:
    """Set, get and close."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def set_options(self, body: bytes, call: Call) -> list[bytes]:
        """SetSessionOptions: those that are refused are named, all others are in force."""
        changes = messages.changes(body)
        refused = self._sessions.change(call.principal, call.session, changes)
        if len(refused) < len(changes) and not call.session.set_something:
            renamed = call.renamed(replace(call.session, set_something=True))
            for name, value in renamed.items():
                call.add_header(name, value)
        return [messages.set_result(refused)]

    def get_options(self, _: bytes, call: Call) -> list[bytes]:
        """GetSessionOptions: what was set, over the defaults. An expired session has none."""
        known = replace(call.session, set_something=False)
        options = self._sessions.options(call.principal, known)
        return [messages.options_result(options.shown())]

    def close(self, _: bytes, call: Call) -> list[bytes]:
        """CloseSession: closing one that has nothing set, or twice, is fine."""
        self._sessions.close(call.principal, call.session)
        return [messages.closed()]
