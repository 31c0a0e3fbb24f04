"""What a reader's statements can name: the one place where rights become tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from flight_server.query.system import ADMIN_TABLES, SYSTEM_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.table import TableDefinition
    from flight_server.query.live import LiveTable
    from flight_server.security.identity import Identity

_KEPT_MAX = 256  # sets of rights; there are as many as principals with tables of their own


@dataclass(frozen=True)
class Scope:
    """The tables of one reader. A table outside of it does not exist for its statements.

    `live`: public name -> table. `definitions`: of the live tables, whose views a statement pins,
    so that `system.*` and receipts hold no rows of others. `system`: names in that schema.
    """

    live: Mapping[str, LiveTable]
    definitions: Sequence[TableDefinition]
    system: Sequence[str]
    is_admin: bool
    is_all: bool


class Scopes:
    """Identity -> scope; thread-safe."""

    def __init__(self, tables: Sequence[LiveTable]) -> None:
        self._tables = tables
        self._made = lru_cache(_KEPT_MAX)(self._make)

    def of(self, identity: Identity) -> Scope:
        """The scope; the same one for the same rights."""
        return self._made(identity.tables, identity.admin)

    def _make(self, tables: frozenset[str] | None, admin: bool) -> Scope:
        readable = [t for t in self._tables if tables is None or t.definition.name in tables]
        system = [name for name in SYSTEM_TABLES if admin or name not in ADMIN_TABLES]
        return Scope(
            live={name: table for table in readable for name in table.names()},
            definitions=[table.definition for table in readable],
            system=system,
            is_admin=admin,
            is_all=admin and len(readable) == len(self._tables),
        )
