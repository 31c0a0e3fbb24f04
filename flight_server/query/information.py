"""The schema `information_schema` as a reader may see it.

The engine's own one lists every table, and asks for them on threads of its own, which know of no
statement. So its frames are taken once, before it is switched off, and a statement gets them
filtered by its scope; their rows are made when the statement runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion import col, lit
from datafusion.functions import in_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datafusion import DataFrame, Expr, SessionContext

    from flight_server.query.scope import Scope

INFORMATION = "information_schema"
INFORMATION_TABLES = (
    "tables",
    "views",
    "columns",
    "schemata",
    "routines",
    "parameters",
    "df_settings",
)
_OF_TABLES = frozenset({"tables", "views", "columns"})
_OF_ADMINS = frozenset({"df_settings"})  # among them limits and directories of the server

# To the engine each of ours is a view, as it is made of a frame; tools look for tables.
_OF_OURS = in_list(col("table_schema"), [lit("public"), lit("system")])
_TABLES = """
    SELECT table_catalog, table_schema, table_name,
        CASE WHEN table_schema IN ('public', 'system') THEN 'BASE TABLE' ELSE table_type END
        AS table_type
    FROM information_schema.tables
"""


class Information:
    """Makes the frames of `information_schema`."""

    def __init__(self, ctx: SessionContext) -> None:
        """Take the engine's frames, and switch its own schema off."""
        self._frames = {n: ctx.table(f"{INFORMATION}.{n}") for n in INFORMATION_TABLES}
        self._frames["tables"] = ctx.sql(_TABLES)
        self._frames["views"] = self._frames["views"].filter(~_OF_OURS)
        ctx.sql("SET datafusion.catalog.information_schema = false").collect()

    def frame(self, name: str, scope: Scope) -> DataFrame:
        """The rows of table `name` that a reader with this scope may see."""
        frame = self._frames[name]
        if name in _OF_TABLES and not scope.is_all:
            return frame.filter(_visible(scope))
        if name in _OF_ADMINS and not scope.is_admin:
            return frame.filter(lit(False))
        return frame


def _visible(scope: Scope) -> Expr:
    """Rows about tables of the scope, and about this schema itself."""

    def one_of(schema: str, names: Iterable[str]) -> Expr:
        named = in_list(col("table_name"), [lit(name) for name in names])
        return (col("table_schema") == lit(schema)) & named

    own = col("table_schema") == lit(INFORMATION)
    return own | one_of("public", scope.live) | one_of("system", scope.system)
