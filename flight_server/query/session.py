"""The engine's session: one for the whole server, with tables that are looked up per statement.

DataFusion asks a schema provider for each table once per statement, while `ctx.sql()` runs, on
the thread that called it. So what a name means can differ from statement to statement: the
thread says which `Statement` it is planning, and the provider answers from that.

What an option of the client's session changes in the engine is a setting of the engine's context.
So there is a context for each combination in use; all have the same tables and memory pool.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext
from datafusion.catalog import Catalog, SchemaProvider, Table

from contract.clock import SystemClock
from flight_server.lake.scan import with_scan_settings
from flight_server.options import CATALOG_NAME, DEFAULTS, SCHEMA, SCHEMA_NAMES, TIME_ZONE
from flight_server.protocol.limits import Product
from flight_server.query.functions import functions
from flight_server.query.information import INFORMATION, Information
from flight_server.query.operators import BATCH_ROWS
from flight_server.query.shares import Shares
from flight_server.security.identity import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from datafusion import DataFrame

    from contract.clock import Clock
    from flight_server.options import SessionOptions

CATALOG = CATALOG_NAME
PUBLIC, SYSTEM, _ = SCHEMA_NAMES

_VERSION = f"{Product.name} {Product.version}"
# What a sort keeps for merging what it spilled, of each partition.
_MERGE_MIN_BYTES, _MERGE_MAX_BYTES = 1 << 20, 10 << 20
_CACHES = {"metadata_cache_limit": "1G", "file_statistics_cache_limit": "256M"}
# Of each context that is not the default one: making one costs 0.1 ms, and cold caches.
_OTHER_CACHES = {"metadata_cache_limit": "64M", "file_statistics_cache_limit": "16M"}
_OTHER_CONTEXTS_MAX = 15


_SYSTEM_CLOCK = SystemClock()


class Tables(Protocol):
    """What a statement that is being planned offers; frames are made without blocking."""

    def names(self, schema: str) -> Sequence[str]:
        """Tables of that schema."""
        ...

    def frame(self, schema: str, name: str) -> DataFrame:
        """The rows of that table for this statement."""
        ...


@dataclass(frozen=True)
class _Settings:
    """What distinguishes the contexts."""

    schema: str = PUBLIC
    time_zone: str | None = None
    user: str = ANONYMOUS

    @classmethod
    def of(cls, options: SessionOptions, user: str) -> _Settings:
        return cls(options[SCHEMA], options[TIME_ZONE], user)


class Session:
    """The one engine session. Planning is safe from several threads at once."""

    def __init__(
        self,
        memory_limit_bytes: int,
        cores: int,
        statements_max: int = 32,
        spill_limit_bytes: int = 16 << 30,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        """`memory_limit_bytes`: of all statements. `spill_limit_bytes`: on disk, of each."""
        self._cores = cores
        self._spill_limit_bytes = spill_limit_bytes
        self._runtime = _runtime(memory_limit_bytes)  # for planning, and for what is no statement
        self.ctx = self._context(_Settings(), _CACHES)
        self.shares = Shares(memory_limit_bytes, statements_max, self._sharing, clock)
        self._others: OrderedDict[_Settings, SessionContext] = OrderedDict()
        self._lock = threading.Lock()
        self._planning = threading.local()

    def open(self, tables: Tables) -> Information:
        """Register the catalog. `tables` is what threads see that plan nothing themselves."""
        self._idle = tables
        catalog = self._register(self.ctx, (PUBLIC, SYSTEM))
        information = Information(self.ctx)  # before ours takes the place of the engine's
        catalog.register_schema(INFORMATION, _Provider(self, INFORMATION))
        return information

    @contextmanager
    def planning(
        self, tables: Tables, options: SessionOptions = DEFAULTS, user: str = ANONYMOUS
    ) -> Iterator[SessionContext]:
        """Names mean what `tables` says, on this thread, until the block ends.

        `user`: what `current_user` is, for statements that name it.
        """
        ctx = self.context(options, user)
        self._planning.tables = tables
        try:
            yield ctx
        finally:
            self._planning.tables = None

    def context(self, options: SessionOptions, user: str = ANONYMOUS) -> SessionContext:
        """What plans the statements of a session with these options."""
        return self._for(_Settings.of(options, user))

    def _for(self, settings: _Settings) -> SessionContext:
        if settings == _Settings():
            return self.ctx
        with self._lock:
            ctx = self._others.pop(settings, None)
            if ctx is None:
                ctx = self._context(settings, _OTHER_CACHES)
                ctx.sql("SET datafusion.catalog.information_schema = false").collect()
                self._register(ctx, SCHEMA_NAMES)
            self._others[settings] = ctx
            while len(self._others) > _OTHER_CONTEXTS_MAX:
                self._others.popitem(last=False)
            return ctx

    def _context(self, settings: _Settings, caches: Mapping[str, str]) -> SessionContext:
        config = (
            self._config(BATCH_ROWS)
            .with_information_schema(True)
            .with_create_default_catalog_and_schema(False)
            .with_default_catalog_and_schema(CATALOG, settings.schema)
        )
        if settings.time_zone is not None:
            config = config.set("datafusion.execution.time_zone", settings.time_zone)
        ctx = SessionContext(config, self._runtime)
        for name, limit in caches.items():
            ctx.sql(f"SET datafusion.runtime.{name} = '{limit}'").collect()
        for function in functions(_VERSION, settings.schema, settings.user):
            ctx.register_udf(function)
        return ctx

    def _sharing(self, size_bytes: int) -> Callable[[int], SessionContext]:
        """See `MakeContexts`: contexts that only run plans, which others made."""
        runtime = _runtime(size_bytes)
        reserve_bytes = max(_MERGE_MIN_BYTES, min(_MERGE_MAX_BYTES, size_bytes // 16))
        spill_gib = max(1, self._spill_limit_bytes >> 30)

        def make(batch_rows: int) -> SessionContext:
            config = self._config(batch_rows).set(
                "datafusion.execution.sort_spill_reservation_bytes", str(reserve_bytes)
            )
            ctx = SessionContext(config, runtime)
            ctx.sql(f"SET datafusion.runtime.max_temp_directory_size = '{spill_gib}G'").collect()
            return ctx

        return make

    def _config(self, batch_rows: int) -> SessionConfig:
        return with_scan_settings(
            SessionConfig().with_target_partitions(self._cores).with_batch_size(batch_rows)
        )

    def _register(self, ctx: SessionContext, schemas: Sequence[str]) -> Catalog:
        catalog = Catalog.memory_catalog(ctx)
        ctx.register_catalog_provider(CATALOG, catalog)
        for schema in schemas:
            catalog.register_schema(schema, _Provider(self, schema))
        return catalog

    def tables(self) -> Tables:
        """What names mean on this thread now."""
        return getattr(self._planning, "tables", None) or self._idle


def _runtime(memory_bytes: int) -> RuntimeEnvBuilder:
    """Every context made with it has its memory pool."""
    return RuntimeEnvBuilder().with_disk_manager_os().with_fair_spill_pool(memory_bytes)


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
