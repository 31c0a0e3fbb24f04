"""Flight SQL without Flight: bytes in, values out; one function a command, found in a dict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.errors import CancelledError, ReadOnlyError, RequestError, UnsupportedError
from flight_server.protocol import commands, parameters, placeholders, sessions, sql_info
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.metadata import METADATA, Facts
from flight_server.protocol.stream import Delivery, Slots, result_schema
from flight_server.statements import HandleStore, PlannedStatement, PreparedStatement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from contract.clock import Clock
    from flight_server.ports import Engine, Plan
    from flight_server.protocol.limits import Product, ProtocolLimits


@dataclass(frozen=True)
class Call:
    """What a handler knows of the RPC that it answers."""

    principal: str
    is_cancelled: Callable[[], bool]


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
class _Action:
    description: str
    run: Callable[[bytes, Call], list[bytes]]


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
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._product = product
        self._facts = Facts(engine.tables, sql_info.facts(product, limits))
        self._plan_slots = Slots("planning", limits.plans_max, limits.slot_wait_s)
        self._delivery = Delivery(limits, clock)
        self._tickets: HandleStore[PlannedStatement] = HandleStore(
            "ticket",
            bounds=limits.tickets,
            ttl_s=limits.ticket_ttl_s,
            renew=False,
            clock=clock,
            new_id=new_id,
            pinned_bytes=lambda statement: statement.plan.pinned_bytes,
        )
        self._prepared: HandleStore[PreparedStatement] = HandleStore(
            "prepared statement",
            bounds=limits.prepared,
            ttl_s=limits.prepared_ttl_s,
            renew=True,
            clock=clock,
            new_id=new_id,
        )
        self._planners: Mapping[type[Any], Callable[[Any, Call], PlannedStatement]] = {
            commands.StatementQuery: self._plan_statement,
            commands.PreparedStatementQuery: self._plan_prepared,
        }
        self._uploads: Mapping[
            type[Any], Callable[[Any, Iterable[pa.RecordBatch], Call], bytes]
        ] = {
            commands.PreparedStatementQuery: self._bind,
            commands.StatementUpdate: _refuse_write,
            commands.PreparedStatementUpdate: _refuse_write,
            commands.StatementIngest: _refuse_write,
        }
        self._actions: Mapping[str, _Action] = {
            "CreatePreparedStatement": _Action("prepare a query", self._prepare),
            "ClosePreparedStatement": _Action("forget a prepared query", self._close_prepared),
            "CancelFlightInfo": _Action("stop a query", self._cancel_flight_info),
            "CancelQuery": _Action("stop a query (deprecated form)", self._cancel_query),
            "SetSessionOptions": _Action(
                "set catalog or schema", lambda body, _: [sessions.set_options(body, product)]
            ),
            "GetSessionOptions": _Action(
                "read catalog and schema", lambda _, __: [sessions.get_options(product)]
            ),
            "CloseSession": _Action("end a session", lambda _, __: [sessions.close()]),
        }

    def info(self, command: bytes, call: Call) -> Info:
        """GetFlightInfo: plan, and keep the plan with its cut behind a ticket."""
        decoded = commands.decode(command)
        if answer := METADATA.get(type(decoded)):
            return Info(answer.schema(decoded), ticket=command)
        statement = self._planner(decoded)(decoded, call)
        handle = self._tickets.put(statement, call.principal)
        return Info(
            result_schema(statement.plan.schema, statement.plan.receipt),
            ticket=commands.encode(commands.TicketStatementQuery(handle)),
            app_metadata=statement.plan.receipt.encode(),
            expires_wall_s=self._clock.wall_s() + self._limits.ticket_ttl_s,
        )

    def schema(self, command: bytes, call: Call) -> pa.Schema:
        """GetSchema: plan and forget; a prepared statement needs no bound values for it."""
        decoded = commands.decode(command)
        if answer := METADATA.get(type(decoded)):
            return answer.schema(decoded)
        if isinstance(decoded, commands.PreparedStatementQuery):
            prepared = self._prepared.get(decoded.prepared_statement_handle, call.principal)
            return self._plan(prepared.sql, prepared.bound or _nulls(prepared.parameters)).schema
        return self._planner(decoded)(decoded, call).plan.schema

    def rows(self, ticket: bytes, call: Call) -> Rows:
        """DoGet: the rows of a ticket, executed while they are read."""
        decoded = commands.decode(ticket)
        if answer := METADATA.get(type(decoded)):
            table = answer.table(decoded, self._facts).combine_chunks()
            return Rows(answer.schema(decoded), self._delivery.table(table))
        handle = getattr(decoded, "statement_handle", b"")  # only a ticket has one
        if isinstance(decoded, commands.TicketStatementQuery):
            statement = self._tickets.get(handle, call.principal)
        elif isinstance(decoded, commands.PreparedStatementQuery):
            statement = self._plan_prepared(decoded, call)
        else:
            raise RequestError("this is a command, not a ticket: send it as GetFlightInfo first")
        schema = result_schema(statement.plan.schema, statement.plan.receipt)
        done = partial(self._tickets.mark_served, handle)
        return Rows(schema, self._delivery.batches(statement, call.is_cancelled, done))

    def put(self, command: bytes, upload: Iterable[pa.RecordBatch], call: Call) -> bytes:
        """DoPut: the metadata to answer with. The caller reads what is left of the upload."""
        decoded = commands.decode(command)
        handler = self._uploads.get(type(decoded))
        if handler is None:
            raise UnsupportedError(f"{type(decoded).__name__} cannot be sent with DoPut")
        return handler(decoded, upload, call)

    def act(self, name: str, body: bytes, call: Call) -> list[bytes]:
        """DoAction: the bodies of the results."""
        action = self._actions.get(name)
        if action is None:
            raise UnsupportedError(f"this server has no action {name[:100]!r}")
        return action.run(body, call)

    def actions(self) -> list[tuple[str, str]]:
        """ListActions: names and descriptions."""
        return [(name, action.description) for name, action in self._actions.items()]

    def stop(self) -> None:
        """End every stream at its next batch."""
        self._delivery.stop()

    def purge(self) -> None:
        """Drop expired handles and the cuts that they pin."""
        self._tickets.purge()
        self._prepared.purge()

    def _planner(self, decoded: object) -> Callable[[Any, Call], PlannedStatement]:
        planner = self._planners.get(type(decoded))
        if planner is None:
            if isinstance(decoded, (commands.StatementUpdate, commands.PreparedStatementUpdate)):
                _refuse_write()
            raise UnsupportedError(f"{type(decoded).__name__} cannot be queried")
        return planner

    def _plan_statement(self, command: commands.StatementQuery, _: Call) -> PlannedStatement:
        statement = self._checked(command.query, command.transaction_id)
        if statement.has_placeholders:
            raise RequestError("the statement has placeholders: prepare it and bind values to them")
        return PlannedStatement(statement.sql, self._plan(statement.sql, None))

    def _plan_prepared(
        self, command: commands.PreparedStatementQuery, call: Call
    ) -> PlannedStatement:
        prepared = self._prepared.get(command.prepared_statement_handle, call.principal)
        if prepared.bound is None and len(prepared.parameters):
            raise RequestError(
                f"the statement has {len(prepared.parameters)} parameters and none are bound"
            )
        return PlannedStatement(prepared.sql, self._plan(prepared.sql, prepared.bound))

    def _plan(self, sql: str, bound: Mapping[str, pa.Scalar] | None) -> Plan:
        with self._plan_slots.taken():
            return self._engine.plan(sql, bound)

    def _checked(self, sql: str, transaction_id: bytes | None) -> placeholders.Statement:
        if transaction_id is not None:
            raise UnsupportedError("this server has no transactions")
        size = len(sql.encode())
        if size > self._limits.sql_bytes_max:
            raise RequestError(
                f"the statement has {size} bytes; the most is {self._limits.sql_bytes_max}"
            )
        return placeholders.rewrite(sql)

    def _prepare(self, body: bytes, call: Call) -> list[bytes]:
        request = commands.decode_as(commands.CreatePreparedStatement, body)
        statement = self._checked(request.query, request.transaction_id)
        parameter_schema = pa.schema([])
        if statement.has_placeholders:
            with self._plan_slots.taken():
                parameter_schema = self._engine.parameters(statement.sql)
        plan = self._plan(statement.sql, _nulls(parameter_schema))
        prepared = PreparedStatement(statement.sql, parameter_schema)
        result = pb.ActionCreatePreparedStatementResult(
            prepared_statement_handle=self._prepared.put(prepared, call.principal),
            dataset_schema=bytes(plan.schema.serialize()),
            parameter_schema=bytes(parameter_schema.serialize()),
            is_update=False,
        )
        return [commands.wrap("ActionCreatePreparedStatementResult", result)]

    def _close_prepared(self, body: bytes, call: Call) -> list[bytes]:
        request = commands.decode_as(commands.ClosePreparedStatement, body)
        self._prepared.drop(request.prepared_statement_handle, call.principal)
        return []

    def _bind(
        self,
        command: commands.PreparedStatementQuery,
        upload: Iterable[pa.RecordBatch],
        call: Call,
    ) -> bytes:
        handle = command.prepared_statement_handle
        prepared = self._prepared.get(handle, call.principal)
        bound = parameters.bind(prepared.parameters, upload, self._limits.parameter_bytes_max)
        if call.is_cancelled():  # a cancelled upload looks like a complete one
            raise CancelledError("the upload of the parameters was cancelled")
        self._prepared.replace(
            handle, call.principal, PreparedStatement(prepared.sql, prepared.parameters, bound)
        )
        result = pb.DoPutPreparedStatementResult(prepared_statement_handle=handle)
        return bytes(result.SerializeToString())

    def _cancel_flight_info(self, body: bytes, call: Call) -> list[bytes]:
        request = commands.parse(pb.CancelFlightInfoRequest, body)
        result = pb.CancelFlightInfoResult(status=self._cancel(request.info, call))
        return [bytes(result.SerializeToString())]

    def _cancel_query(self, body: bytes, call: Call) -> list[bytes]:
        request = commands.decode_as(commands.CancelQuery, body)
        info = commands.parse(pb.FlightInfo, request.info)
        result = pb.ActionCancelQueryResult(result=self._cancel(info, call))
        return [commands.wrap("ActionCancelQueryResult", result)]

    def _cancel(self, info: pb.FlightInfo, call: Call) -> pb.CancelStatus:
        found = False
        for endpoint in info.endpoint:
            ticket = commands.decode_as(commands.TicketStatementQuery, endpoint.ticket.ticket)
            statement = self._tickets.drop(ticket.statement_handle, call.principal)
            if statement is not None:
                statement.cancelled.set()
                found = True
        return pb.CANCEL_STATUS_CANCELLED if found else pb.CANCEL_STATUS_NOT_CANCELLABLE


def _nulls(parameter_schema: pa.Schema) -> dict[str, pa.Scalar] | None:
    return {field.name: pa.scalar(None, field.type) for field in parameter_schema} or None


def _refuse_write(*_: object) -> bytes:
    raise ReadOnlyError("this server is read-only: rows come in through the topic alone")
