"""The session actions; their bodies are raw messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.protocol import sessions

if TYPE_CHECKING:
    from flight_server.handlers.values import Call
    from flight_server.protocol.limits import Product


class SessionActions:
    """Set, get and close."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def set_options(self, body: bytes, _: Call) -> list[bytes]:
        """SetSessionOptions."""
        return [sessions.set_options(body, self._product)]

    def get_options(self, _: bytes, __: Call) -> list[bytes]:
        """GetSessionOptions."""
        return [sessions.get_options(self._product)]

    def close(self, _: bytes, __: Call) -> list[bytes]:
        """CloseSession."""
        return [sessions.close()]
