"""Prepared statements: prepared once, bound and run as often as the client likes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from contract.errors import CancelledError, RequestError
from flight_server.protocol import commands, parameters
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.statements import HandleStore, PlannedStatement, PreparedStatement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from contract.clock import Clock
    from flight_server.handlers.cuts import Cuts
    from flight_server.handlers.statements import Planner
    from flight_server.handlers.values import Call
    from flight_server.ports import Asker, Plan
    from flight_server.protocol.limits import ProtocolLimits


class Prepared:
    """The actions and commands on prepared statements."""

    def __init__(
        self,
        planner: Planner,
        cuts: Cuts,
        prepared: HandleStore[PreparedStatement],
        limits: ProtocolLimits,
    ) -> None:
        self._planner = planner
        self._cuts = cuts
        self._prepared = prepared
        self._limits = limits

    def prepare(self, body: bytes, call: Call) -> list[bytes]:
        """CreatePreparedStatement: plan with nulls for the schemas, and keep the text."""
        request = commands.decode_as(commands.CreatePreparedStatement, body)
        statement, own_cut = self._planner.checked(request.query, request.transaction_id)
        asker = self._cuts.describer(call, own_cut)
        parameter_schema = pa.schema([])
        if statement.has_placeholders:
            parameter_schema = self._planner.parameters(statement.sql, asker)
        plan = self._planner.plan(statement.sql, _nulls(parameter_schema), asker)
        prepared = PreparedStatement(statement.sql, parameter_schema, own_cut=own_cut)
        result = pb.ActionCreatePreparedStatementResult(
            prepared_statement_handle=self._prepared.put(prepared, call.principal),
            dataset_schema=bytes(plan.schema.serialize()),
            parameter_schema=bytes(parameter_schema.serialize()),
            is_update=False,
        )
        return [commands.wrap("ActionCreatePreparedStatementResult", result)]

    def close(self, body: bytes, call: Call) -> list[bytes]:
        """ClosePreparedStatement; closing twice is fine."""
        request = commands.decode_as(commands.ClosePreparedStatement, body)
        self._prepared.drop(request.prepared_statement_handle, call.principal, "was closed")
        return []

    def bind(
        self,
        command: commands.PreparedStatementQuery,
        upload: Iterable[pa.RecordBatch],
        call: Call,
    ) -> bytes:
        """DoPut: keep the uploaded values for the next execution; the reply names the handle."""
        handle = command.prepared_statement_handle
        prepared = self._prepared.get(handle, call.principal)
        bound = parameters.bind(
            prepared.parameters,
            upload,
            rows_max=self._limits.parameter_rows_max,
            bytes_max=self._limits.parameter_bytes_max,
        )
        if call.is_cancelled():  # a cancelled upload looks like a complete one
            raise CancelledError("the upload of the parameters was cancelled")
        self._prepared.replace(handle, call.principal, replace(prepared, bound=bound))
        result = pb.DoPutPreparedStatementResult(prepared_statement_handle=handle)
        return bytes(result.SerializeToString())

    def plan(self, command: commands.PreparedStatementQuery, call: Call) -> PlannedStatement:
        """Plan with the bound values; several rows of them are several runs over one cut."""
        prepared = self._prepared.get(command.prepared_statement_handle, call.principal)
        if not prepared.bound and len(prepared.parameters):
            raise RequestError(
                f"the statement has {len(prepared.parameters)} parameters and none are bound"
            )
        asker = self._cuts.asker(call, prepared.sql, prepared.own_cut, follows=True)
        return PlannedStatement(prepared.sql, self._plan(prepared, prepared.bound, asker))

    def schema(self, command: commands.PreparedStatementQuery, call: Call) -> pa.Schema:
        """The schema of the rows; needs no bound values."""
        prepared = self._prepared.get(command.prepared_statement_handle, call.principal)
        bound = prepared.bound or (_nulls(prepared.parameters) or {},)
        asker = self._cuts.describer(call, prepared.own_cut, follows=True)
        return self._plan(prepared, bound, asker).schema

    def _plan(
        self,
        prepared: PreparedStatement,
        rows: Sequence[Mapping[str, pa.Scalar]],
        asker: Asker,
    ) -> Plan:
        if len(rows) > 1:
            return self._planner.plan_rows(prepared.sql, rows, asker)
        return self._planner.plan(prepared.sql, rows[0] if rows else None, asker)


def prepared_store(
    limits: ProtocolLimits, clock: Clock, new_id: Callable[[], bytes]
) -> HandleStore[PreparedStatement]:
    """A store for prepared statements."""
    return HandleStore(
        "prepared statement",
        bounds=limits.prepared,
        ttl_s=limits.prepared_ttl_s,
        renew=True,
        clock=clock,
        new_id=new_id,
    )


def _nulls(parameter_schema: pa.Schema) -> dict[str, pa.Scalar] | None:
    return {field.name: pa.scalar(None, field.type) for field in parameter_schema} or None
