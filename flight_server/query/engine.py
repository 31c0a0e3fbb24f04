"""SQL text to a plan over one pinned cut.

A statement over more than a few files is planned twice. The first plan scans none of them: it is
there to read the filters that reach each lake scan. The second scans the files that these filters
leave. The filters that a text had before stand in for the first plan. Where the second plan turns
out to need a file that is not in it (now() has moved on, the text means something else by now),
planning starts again.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from datafusion import SQLOptions

from flight_server.lake.prune import filters_by_scan
from flight_server.lake.verify import verify_files
from flight_server.options import SCHEMA, TIMESTAMPS, UTC
from flight_server.ports import UNWATCHED, Asker, TableInfo
from flight_server.query.execution import run
from flight_server.query.failures import from_engine
from flight_server.query.filter_memory import FilterMemory
from flight_server.query.functions import names_user
from flight_server.query.normalize import conform, normalized, without_zones
from flight_server.query.parameters import parameter_schema
from flight_server.query.pin import Pin, Pinning, open_bytes
from flight_server.query.plan_memory import PlanMemory, Planned
from flight_server.query.receipt import receipt_of
from flight_server.query.rows import RowsPlan
from flight_server.query.scope import Scopes
from flight_server.query.session import CATALOG, PUBLIC, SYSTEM
from flight_server.query.statement import Reader, Shapes, Sources, Statement
from flight_server.query.system import SYSTEM_TABLES
from flight_server.security.identity import ANONYMOUS, EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import pyarrow as pa
    from datafusion import DataFrame, SessionContext
    from datafusion.plan import ExecutionPlan

    from contract.clock import Clock
    from flight_server.cut.request import CutRequest
    from flight_server.lake.snapshot import DataFiles
    from flight_server.lake.verify import FileCheck
    from flight_server.ports import Watch
    from flight_server.query.live import LiveTable
    from flight_server.query.session import Session
    from flight_server.query.shares import Shares
    from flight_server.query.system import System
    from flight_server.query.types import LakeView
    from flight_server.security.identity import Identity

_READ_ONLY = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
_PLANNINGS_MAX = 3  # then all files are scanned
_MOVES = re.compile(r"now|current|today", re.IGNORECASE)  # functions of the time of planning
_ANYBODY = Asker()


class Engine:
    """Plans and runs statements; `flight_server.ports.Engine`. Called from many threads."""

    def __init__(
        self,
        session: Session,
        tables: Sequence[LiveTable],
        view_of: Callable[[str], LakeView],
        system: System,
        check: FileCheck,
        clock: Clock,
    ) -> None:
        """`view_of`: the current view of a live table, or UnavailableError with the reason."""
        self._session = session
        self._scopes = Scopes(tables)
        self._pinning = Pinning(view_of, clock)
        self._check = check
        everything = self._scopes.of(EVERYBODY).live
        information = session.open(Shapes(session.ctx, everything))
        self._sources = Sources(system, information)
        self._memory = FilterMemory()
        self._plans = PlanMemory()
        self._clock = clock

    def plan(
        self,
        sql: str,
        parameters: Mapping[str, pa.Scalar] | None = None,
        asker: Asker = _ANYBODY,
    ) -> QueryPlan:
        """See `flight_server.ports.Engine`."""
        reader = self._reader(asker)
        return self._plan_over(self._pin(reader), reader, sql, parameters or {})

    def plan_rows(
        self, sql: str, rows: Sequence[Mapping[str, pa.Scalar]], asker: Asker = _ANYBODY
    ) -> RowsPlan:
        """See `flight_server.ports.Engine`."""
        reader = self._reader(asker)
        return RowsPlan(partial(self._plan_over, self._pin(reader), reader, sql), rows)

    def _plan_over(
        self, pin: Pin, reader: Reader, sql: str, parameters: Mapping[str, pa.Scalar]
    ) -> QueryPlan:
        values = {name.removeprefix("$"): value for name, value in parameters.items()}
        try:
            planned = self._planned_lately(sql, values, reader, pin)
        except Exception as error:
            raise from_engine(error) from error
        statement = planned.statement
        receipt = receipt_of(statement.views_read(), pin.pinned_s, pin.asked)
        pinned = sum(map(open_bytes, statement.views_read().values()))
        return QueryPlan(
            planned.frame,
            planned.schema,
            receipt,
            statement.files(),
            self._check,
            pinned,
            self._session.shares,
            self._session.context(reader.asker.options),
        )

    def parameters(self, sql: str, asker: Asker = _ANYBODY) -> pa.Schema:
        """See `flight_server.ports.Engine`."""
        reader = self._reader(asker)
        frame = self._sql(sql, {}, Statement(reader, self._sources, self._pin(reader)))
        texts = [str(frame.logical_plan())]
        # with some placeholders, the optimizer cannot do its work before they have values
        with suppress(Exception):
            texts.append(str(frame.optimized_logical_plan()))
        return parameter_schema(sql, *texts)

    def pin(
        self,
        request: CutRequest | None,
        sql: str | None = None,
        asker: Asker = _ANYBODY,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Pin:
        """See `flight_server.ports.Engine`."""
        definitions = self._reader(asker).scope.definitions
        if request is None:
            return self._pinning.now(definitions)
        if asker.options[SCHEMA] != PUBLIC:
            sql = None  # its text need not have the word system
        return self._pinning.at(request, definitions, sql, given_up)

    def purge(self) -> None:
        """Let old plans go, and the views that they keep; for a timer."""
        self._plans.purge(self._clock.monotonic_s())

    def tables(self, identity: Identity = EVERYBODY) -> Sequence[TableInfo]:
        """See `flight_server.ports.Engine`."""
        scope = self._scopes.of(identity)
        live = [
            TableInfo(CATALOG, PUBLIC, name, "TABLE", normalized(table.schema(name)))
            for name, table in scope.live.items()
        ]
        system = [
            TableInfo(CATALOG, SYSTEM, name, "SYSTEM TABLE", normalized(SYSTEM_TABLES[name]))
            for name in scope.system
        ]
        return live + system

    def _reader(self, asker: Asker) -> Reader:
        return Reader(asker, self._scopes.of(asker.identity))

    def _pin(self, reader: Reader) -> Pin:
        return reader.asker.pin or self._pinning.now(reader.scope.definitions)

    def _planned_lately(
        self, sql: str, values: Mapping[str, pa.Scalar], reader: Reader, pin: Pin
    ) -> Planned:
        key = sql, reader.asker.identity
        keeps = not (values or pin.asked or reader.asker.options.given or _MOVES.search(sql))
        now_s = self._clock.monotonic_s()
        if keeps and (planned := self._plans.recall(key, pin, now_s)):
            return planned
        statement, frame = self._planned(sql, values, reader, pin)
        schema = normalized(frame.schema())
        if reader.asker.options[TIMESTAMPS] == UTC:
            schema = without_zones(schema)
        planned = Planned(statement, frame, schema)
        if keeps and not statement.reads_system:
            self._plans.keep(key, planned, now_s)
        return planned

    def _planned(
        self, sql: str, values: Mapping[str, pa.Scalar], reader: Reader, pin: Pin
    ) -> tuple[Statement, DataFrame]:
        remembers = not values and pin.asked is None
        recalled = filters = self._memory.recall(sql) if remembers else None
        if filters is None:
            probe = Statement(reader, self._sources, pin)
            frame = self._sql(sql, values, probe)
            if not probe.lacks_files:
                return probe, frame
            filters = filters_by_scan(frame.optimized_logical_plan())
        certain = recalled is None and not _MOVES.search(sql)
        for _ in range(_PLANNINGS_MAX):
            statement = Statement(reader, self._sources, pin, filters)
            frame = self._sql(sql, values, statement)
            if not certain:
                filters = filters_by_scan(frame.optimized_logical_plan())
            if certain or statement.covers(filters):
                if remembers:
                    self._memory.keep(sql, filters)
                return statement, frame
        everything = Statement(reader, self._sources, pin, {})
        return everything, self._sql(sql, values, everything)

    def _sql(self, sql: str, values: Mapping[str, pa.Scalar], statement: Statement) -> DataFrame:
        try:
            asker = statement.reader.asker
            user = asker.identity.principal if names_user(sql) else ANONYMOUS
            with self._session.planning(statement, asker.options, user) as ctx:
                return ctx.sql(sql, options=_READ_ONLY, param_values=dict(values) or None)
        except Exception as error:
            raise (statement.refusal or from_engine(error)) from error


class QueryPlan:
    """A statement planned over its cut; `flight_server.ports.Plan`."""

    def __init__(
        self,
        frame: DataFrame,
        schema: pa.Schema,
        receipt: str,
        files: Sequence[DataFiles],
        check: FileCheck,
        pinned_bytes: int,
        shares: Shares,
        context: SessionContext,
    ) -> None:
        """`context`: which planned it; it runs in one of `shares`."""
        self._frame = frame
        self._files = files
        self._check = check
        self._shares = shares
        self._context = context
        self.schema = schema
        self.receipt = receipt
        self.pinned_bytes = pinned_bytes

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        """See `flight_server.ports.Plan`."""
        try:
            batches = run(self._executable, self.schema, self._shares, self._context, watch)
            with closing(batches):
                for batch in batches:
                    yield conform(batch, self.schema)
        except Exception as error:
            raise from_engine(error) from error

    def _executable(self) -> ExecutionPlan:
        plan = self._frame.execution_plan()
        for files in self._files:
            verify_files(files, self._check)
        return plan
