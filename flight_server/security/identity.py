"""Who calls, and what they may do: the value that every other layer decides by."""

from __future__ import annotations

from dataclasses import dataclass

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Identity:
    """One principal with its rights.

    `tables`: the tables that it may read, by the names of their definitions, each with its
    `_history`, `_tail` and `_dead`; None: all. `admin`: it may also see the server's settings, and
    see and cancel the statements of others.
    """

    principal: str
    tables: frozenset[str] | None = frozenset()
    admin: bool = False

    def may_read(self, table: str) -> bool:
        """Whether the live table of that name exists for it."""
        return self.tables is None or table in self.tables

    def may_control(self, principal: str) -> bool:
        """Whether it may see and cancel what `principal` runs."""
        return self.admin or principal == self.principal


NOBODY = Identity("")  # before anybody has said who calls
EVERYBODY = Identity(ANONYMOUS, tables=None, admin=True)  # who calls where nobody is asked
