"""The actions that stop a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb

if TYPE_CHECKING:
    from flight_server.handlers.values import Call
    from flight_server.statements import HandleStore, PlannedStatement


class Cancels:
    """CancelFlightInfo and CancelQuery."""

    def __init__(self, tickets: HandleStore[PlannedStatement]) -> None:
        self._tickets = tickets

    def cancel_flight_info(self, body: bytes, call: Call) -> list[bytes]:
        """CancelFlightInfo: a raw message in, a raw message out."""
        request = commands.parse(pb.CancelFlightInfoRequest, body)
        result = pb.CancelFlightInfoResult(status=self._cancel(request.info, call))
        return [bytes(result.SerializeToString())]

    def cancel_query(self, body: bytes, call: Call) -> list[bytes]:
        """CancelQuery, the older form: wrapped in Any."""
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
