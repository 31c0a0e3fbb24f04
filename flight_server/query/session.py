"""The engine's session: one for the whole server, with tables that are looked up per statement.

DataFusion asks a schema provider for each table once per statement, while `ctx.sql()` runs, on
the thread that called it. So what a name means can differ from statement to statement: the
thread says which `Statement` it is planning, and the provider answers from that.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext
from datafusion.catalog import Catalog, SchemaProvider, Table

from flight_server.lake.scan import with_scan_settings
from flight_server.query.information import INFORMATION, Information

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datafusion import DataFrame

CATALOG = "highwater"
PUBLIC = "public"
SYSTEM = "system"

_BATCH_ROWS = 8_192
_METADATA_CACHE = "1G"
_STATISTICS_CACHE = "256M"


class Tables(Protocol):
    """What a statement that is being planned offers; frames are made without blocking."""

    def names(self, schema: str) -> Sequence[str]:
        """Tables of that schema."""
        ...

    def frame(self, schema: str, name: str) -> DataFrame:
        """The rows of that table for this statement."""
        ...


class Session:
    """The one engine session. Planning is safe from several threads at once."""

    def __init__(self, memory_limit_bytes: int, cores: int) -> None:
        runtime = (
            RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(memory_limit_bytes)
        )
        config = (
            SessionConfig()
            .with_target_partitions(cores)
            .with_batch_size(_BATCH_ROWS)
            .with_information_schema(True)
            .with_create_default_catalog_and_schema(False)
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
        )
        self.ctx = SessionContext(with_scan_settings(config), runtime)
        self._planning = threading.local()

    def open(self, tables: Tables) -> Information:
        """Register the catalog. `tables` is what threads see that plan nothing themselves."""
        for name, limit in (
            ("metadata_cache_limit", _METADATA_CACHE),
            ("file_statistics_cache_limit", _STATISTICS_CACHE),
        ):
            self.ctx.sql(f"SET datafusion.runtime.{name} = '{limit}'").collect()
        self._idle = tables
        catalog = Catalog.memory_catalog(self.ctx)
        self.ctx.register_catalog_provider(CATALOG, catalog)
        for schema in (PUBLIC, SYSTEM):
            catalog.register_schema(schema, _Provider(self, schema))
        information = Information(self.ctx)
        catalog.register_schema(INFORMATION, _Provider(self, INFORMATION))
        return information

    @contextmanager
    def planning(self, tables: Tables) -> Iterator[SessionContext]:
        """Names mean what `tables` says, on this thread, until the block ends."""
        self._planning.tables = tables
        try:
            yield self.ctx
        finally:
            self._planning.tables = None

    def tables(self) -> Tables:
        """What names mean on this thread now."""
        return getattr(self._planning, "tables", None) or self._idle


class _Provider(SchemaProvider):
    """A schema whose tables are those of the statement that the calling thread plans."""

    owner_name = CATALOG  # type: ignore[assignment]  # read as an attribute, not called

    def __init__(self, session: Session, schema: str) -> None:
        self._session = session
        self._schema = schema

    @property
    def table_names(self) -> list[str]:  # type: ignore[override]
        """Must be a property with a list, although the base class shows a method with a set."""
        return list(self._session.tables().names(self._schema))

    def table_exist(self, name: str) -> bool:
        """Whether a statement may name this table."""
        return name in self._session.tables().names(self._schema)

    def table(self, name: str) -> Table | None:
        """The table as the statement being planned sees it; nothing in here may block."""
        if not self.table_exist(name):
            return None
        return Table(self._session.tables().frame(self._schema, name))
