"""What handlers take and give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from flight_server.security.identity import Identity
    from flight_server.sessions import SessionRef


def _no_header(_: str, __: str) -> None:
    """Where nobody listens."""


@dataclass(frozen=True)
class Call:
    """What a handler knows of the RPC that it answers."""

    identity: Identity
    session: SessionRef
    is_cancelled: Callable[[], bool]
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names in lower case
    add_header: Callable[[str, str], None] = _no_header  # to the answer, before its first byte
    renamed: Callable[[SessionRef], Mapping[str, str]] = lambda _: {}  # tells the client

    @property
    def principal(self) -> str:
        """Whose handles it may use."""
        return self.identity.principal


@dataclass(frozen=True)
class Info:
    """How the rows of a command can be fetched."""

    schema: pa.Schema
    ticket: bytes
    app_metadata: bytes = b""
    expires_wall_s: float | None = None  # until then the ticket can be fetched again


@dataclass(frozen=True)
class Rows:
    """One result."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Action:
    """One action of DoAction; `run` takes its body and gives the bodies of its results."""

    description: str
    run: Callable[[bytes, Call], list[bytes]]
