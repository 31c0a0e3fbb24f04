"""What every feed produces: messages for a topic, ready to send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

Message = tuple[bytes | None, bytes]  # key, value
SECOND_US = 1_000_000


class Feed(Protocol):
    """A source of messages, asked for some whenever the rate allows it."""

    def take(self, count: int, now_us: int) -> list[Message] | None:
        """At most `count` messages, made at `now_us` (microseconds since the epoch, UTC).

        An empty list means nothing now, None means nothing any more.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def encode(trade: Mapping[str, Any]) -> bytes:
    """A trade as the compact JSON that the wire carries."""
    return json.dumps(trade, separators=(",", ":"), ensure_ascii=False).encode()
