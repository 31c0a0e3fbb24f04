"""What handlers take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from flight_server.security.identity import Identity


@dataclass(frozen=True)
class Call:
    """What a handler knows of the RPC that it answers."""

    identity: Identity
    is_cancelled: Callable[[], bool]

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
