"""Which handler answers which RPC, command and action: one line each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from contract.errors import ReadOnlyError, RequestError, UnsupportedError
from flight_server.handlers.control import Control
from flight_server.handlers.cuts import Cuts, transaction_store
from flight_server.handlers.prepared import Prepared, prepared_store
from flight_server.handlers.session import SessionActions
from flight_server.handlers.statements import Planner, Statements, ticket_store
from flight_server.handlers.tickets import TicketActions
from flight_server.handlers.values import Action, Info, Rows
from flight_server.protocol import commands, sql_info
from flight_server.protocol.metadata import METADATA, Facts
from flight_server.protocol.stream import Delivery
from flight_server.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.handlers.values import Call
    from flight_server.ports import Engine
    from flight_server.protocol.limits import Product, ProtocolLimits
    from flight_server.running import Queries
    from flight_server.statements import PlannedStatement

_H = TypeVar("_H")


class FlightSqlService:
    """The commands of Flight SQL over an engine. Every method is called from many threads.

    They raise the classes of `contract.errors`; what else comes out is a bug.
    """

    def __init__(
        self,
        engine: Engine,
        limits: ProtocolLimits,
        product: Product,
        clock: Clock,
        new_id: Callable[[], bytes],
        queries: Queries,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._engine = engine
        self._sql_info = sql_info.facts(product, limits)
        self._queries = queries
        self._delivery = Delivery(limits, queries, clock)
        self._tickets = ticket_store(limits, clock, new_id)
        self._handles = prepared_store(limits, clock, new_id)
        self._sessions = Sessions(
            entries_max=limits.sessions_max,
            ttl_s=limits.session_ttl_s,
            bytes_max=limits.session_bytes_max,
            clock=clock,
        )
        self._transactions = transaction_store(limits, clock, new_id)
        cuts = Cuts(engine, self._sessions, self._transactions, clock, limits, queries.is_stopping)
        planner = Planner(engine, Control(queries, clock), limits, clock)
        self._statements = statements = Statements(planner, cuts, self._delivery, self._tickets)
        prepared = Prepared(planner, cuts, self._handles, limits)
        sessions = SessionActions(self._sessions)
        tickets = TicketActions(self._tickets, queries, self._expires_wall_s)
        self._planners: Mapping[type[Any], Callable[[Any, Call], PlannedStatement]] = {
            commands.StatementQuery: statements.plan,
            commands.PreparedStatementQuery: prepared.plan,
            commands.StatementUpdate: _refuse_write,
            commands.PreparedStatementUpdate: _refuse_write,
        }
        self._schemas: Mapping[type[Any], Callable[[Any, Call], pa.Schema]] = {
            commands.StatementQuery: statements.schema,
            commands.PreparedStatementQuery: prepared.schema,
            commands.StatementUpdate: _refuse_write,
            commands.PreparedStatementUpdate: _refuse_write,
        }
        self._uploads: Mapping[
            type[Any], Callable[[Any, Iterable[pa.RecordBatch], Call], bytes]
        ] = {
            commands.PreparedStatementQuery: prepared.bind,
            commands.StatementUpdate: _refuse_write,
            commands.PreparedStatementUpdate: _refuse_write,
            commands.StatementIngest: _refuse_write,
        }
        self._actions: Mapping[str, Action] = {
            "CreatePreparedStatement": Action("prepare a query", prepared.prepare),
            "ClosePreparedStatement": Action("forget a prepared query", prepared.close),
            "BeginTransaction": Action("read one cut in several queries", cuts.begin),
            "EndTransaction": Action("let the cut of a transaction go", cuts.end),
            "CancelFlightInfo": Action("stop a query", tickets.cancel_flight_info),
            "CancelQuery": Action("stop a query (deprecated form)", tickets.cancel_query),
            "RenewFlightEndpoint": Action("keep the rows of a query for longer", tickets.renew),
            "SetSessionOptions": Action("set options of the session", sessions.set_options),
            "GetSessionOptions": Action("read the options of the session", sessions.get_options),
            "CloseSession": Action("end a session", sessions.close),
        }

    def info(self, command: bytes, call: Call) -> Info:
        """GetFlightInfo: plan, and keep the plan with its cut behind a ticket."""
        decoded = commands.decode(command)
        if answer := METADATA.get(type(decoded)):
            return Info(answer.schema(decoded), ticket=command)
        statement = _handler(self._planners, decoded, "queried")(decoded, call)
        return self._statements.ticket(statement, call, self._expires_wall_s())

    def schema(self, command: bytes, call: Call) -> pa.Schema:
        """GetSchema: plan and forget; a prepared statement needs no bound values for it."""
        decoded = commands.decode(command)
        if answer := METADATA.get(type(decoded)):
            return answer.schema(decoded)
        return _handler(self._schemas, decoded, "described")(decoded, call)

    def rows(self, ticket: bytes, call: Call) -> Rows:
        """DoGet: the rows of a ticket, executed while they are read."""
        decoded = commands.decode(ticket)
        if answer := METADATA.get(type(decoded)):
            facts = Facts(partial(self._engine.tables, call.identity), self._sql_info)
            table = answer.table(decoded, facts).combine_chunks()
            return Rows(answer.schema(decoded), self._delivery.table(table))
        if isinstance(decoded, commands.TicketStatementQuery):
            return self._statements.rows(decoded, call)
        if isinstance(decoded, commands.PreparedStatementQuery):
            planner = self._planners[commands.PreparedStatementQuery]
            return self._statements.stream(planner(decoded, call), call)
        raise RequestError("this is a command, not a ticket: send it as GetFlightInfo first")

    def put(self, command: bytes, upload: Iterable[pa.RecordBatch], call: Call) -> bytes:
        """DoPut: the metadata to answer with. The caller reads what is left of the upload."""
        decoded = commands.decode(command)
        return _handler(self._uploads, decoded, "sent with DoPut")(decoded, upload, call)

    def act(self, name: str, body: bytes, call: Call) -> list[bytes]:
        """DoAction: the bodies of the results."""
        action = self._actions.get(name)
        if action is None:
            raise UnsupportedError(f"this server has no action {name[:100]!r}")
        return action.run(body, call)

    def actions(self) -> list[tuple[str, str]]:
        """ListActions: names and descriptions."""
        return [(name, action.description) for name, action in self._actions.items()]

    def _expires_wall_s(self) -> float:
        return self._clock.wall_s() + self._limits.ticket_ttl_s

    def stop(self) -> None:
        """End every stream."""
        self._queries.stop()

    def purge(self) -> None:
        """Drop expired handles and the cuts that they pin, end what ran for too long."""
        self._queries.expire()
        self._tickets.purge()
        self._handles.purge()
        self._transactions.purge()
        self._sessions.purge()


def _handler(handlers: Mapping[type[Any], _H], decoded: object, done: str) -> _H:
    handler = handlers.get(type(decoded))
    if handler is None:
        raise UnsupportedError(f"{type(decoded).__name__} cannot be {done}")
    return handler


def _refuse_write(*_: object) -> Any:
    raise ReadOnlyError("this server is read-only: rows come in through the topic alone")
