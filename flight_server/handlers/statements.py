"""Statements sent as text: checked, planned, and kept behind tickets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from contract.errors import RequestError
from flight_server.cut.request import cut_request, take_hint
from flight_server.handlers.values import Info, Rows
from flight_server.protocol import commands, placeholders
from flight_server.protocol.stream import result_schema
from flight_server.slots import Slots
from flight_server.statements import HandleStore, OwnCut, PlannedStatement
from flight_server.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from contract.clock import Clock
    from flight_server.handlers.control import Control
    from flight_server.handlers.cuts import Cuts
    from flight_server.handlers.values import Call
    from flight_server.ports import Asker, Engine, Plan
    from flight_server.protocol.limits import ProtocolLimits
    from flight_server.protocol.stream import Delivery


class Planner:
    """The engine, asked by a bounded number of calls at once."""

    def __init__(
        self, engine: Engine, control: Control, limits: ProtocolLimits, clock: Clock
    ) -> None:
        self._engine = engine
        self._control = control
        self._limits = limits
        self._slots = Slots(
            "planning",
            limits.plans_max,
            waiting_max=limits.waiting_max,
            wait_s=limits.slot_wait_s,
            clock=clock,
        )
        self._workers = Workers("planner", limits.plans_max)

    def checked(
        self, sql: str, transaction_id: bytes | None
    ) -> tuple[placeholders.Statement, OwnCut]:
        """`sql` with numbered placeholders, and what it says of its cut.

        Refused before the engine sees it if too long.
        """
        size = len(sql.encode())
        if size > self._limits.sql_bytes_max:
            raise RequestError(
                f"the statement has {size} bytes; the most is {self._limits.sql_bytes_max}"
            )
        rest, words = take_hint(sql)
        cut_request(words)  # whoever only prepares it learns as well that it cannot be read
        return placeholders.rewrite(rest), OwnCut(words, transaction_id)

    def plan(self, sql: str, bound: Mapping[str, pa.Scalar] | None, asker: Asker) -> Plan:
        """Plan `sql` for the asker, over its cut."""
        if (control := self._control.plan(sql, asker.identity)) is not None:
            return control
        with self._slots.taken():
            return self._workers.run(lambda: self._engine.plan(sql, bound, asker))

    def plan_rows(self, sql: str, rows: Sequence[Mapping[str, pa.Scalar]], asker: Asker) -> Plan:
        """Likewise for each of `rows`, over one cut for all of them."""
        with self._slots.taken():
            return self._workers.run(lambda: self._engine.plan_rows(sql, rows, asker))

    def parameters(self, sql: str, asker: Asker) -> pa.Schema:
        """The placeholders of `sql`; see `Engine.parameters`."""
        with self._slots.taken():
            return self._workers.run(lambda: self._engine.parameters(sql, asker))


class Statements:
    """CommandStatementQuery, and the tickets of every planned statement."""

    def __init__(
        self,
        planner: Planner,
        cuts: Cuts,
        delivery: Delivery,
        tickets: HandleStore[PlannedStatement],
    ) -> None:
        self._planner = planner
        self._cuts = cuts
        self._delivery = delivery
        self._tickets = tickets

    def plan(self, command: commands.StatementQuery, call: Call) -> PlannedStatement:
        """Plan a text without placeholders."""
        sql, own_cut = self._checked(command)
        asker = self._cuts.asker(call, sql, own_cut)
        return PlannedStatement(sql, self._planner.plan(sql, None, asker))

    def schema(self, command: commands.StatementQuery, call: Call) -> pa.Schema:
        """Plan and forget; waits for no cut."""
        sql, own_cut = self._checked(command)
        return self._planner.plan(sql, None, self._cuts.describer(call, own_cut)).schema

    def _checked(self, command: commands.StatementQuery) -> tuple[str, OwnCut]:
        statement, own_cut = self._planner.checked(command.query, command.transaction_id)
        if statement.has_placeholders:
            raise RequestError("the statement has placeholders: prepare it and bind values to them")
        return statement.sql, own_cut

    def rows(self, ticket: commands.TicketStatementQuery, call: Call) -> Rows:
        """The rows behind a ticket, executed while they are read."""
        handle = ticket.statement_handle
        served = partial(self._tickets.mark_served, handle)
        return self.stream(self._tickets.get(handle, call.principal), call, served)

    def stream(
        self, statement: PlannedStatement, call: Call, served: Callable[[], None] = lambda: None
    ) -> Rows:
        """The rows of `statement`; `served` is called when all were taken."""
        schema = result_schema(statement.plan.schema, statement.plan.receipt)
        batches = self._delivery.batches(statement, call.principal, call.is_cancelled, served)
        return Rows(schema, batches)

    def ticket(self, statement: PlannedStatement, call: Call, expires_wall_s: float) -> Info:
        """Keep `statement` with its cut behind a new ticket."""
        handle = self._tickets.put(statement, call.principal)
        return Info(
            result_schema(statement.plan.schema, statement.plan.receipt),
            ticket=commands.encode(commands.TicketStatementQuery(handle)),
            app_metadata=statement.plan.receipt.encode(),
            expires_wall_s=expires_wall_s,
        )


def ticket_store(
    limits: ProtocolLimits, clock: Clock, new_id: Callable[[], bytes]
) -> HandleStore[PlannedStatement]:
    """A store for planned statements."""
    return HandleStore(
        "ticket",
        bounds=limits.tickets,
        ttl_s=limits.ticket_ttl_s,
        renew=False,
        clock=clock,
        new_id=new_id,
        pinned_bytes=lambda statement: statement.plan.pinned_bytes,
    )
