"""The actions on a planned statement: stop it, or keep it for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from flight_server.handlers.values import Call
    from flight_server.running import Queries
    from flight_server.statements import HandleStore, PlannedStatement


class TicketActions:
    """CancelFlightInfo, CancelQuery and RenewFlightEndpoint."""

    def __init__(
        self,
        tickets: HandleStore[PlannedStatement],
        queries: Queries,
        expires_wall_s: Callable[[], float],
    ) -> None:
        """`expires_wall_s`: when a ticket made or renewed now expires, since the epoch."""
        self._tickets = tickets
        self._queries = queries
        self._expires_wall_s = expires_wall_s

    def renew(self, body: bytes, call: Call) -> list[bytes]:
        """RenewFlightEndpoint: the time of a ticket starts anew. Raw messages."""
        endpoint = commands.parse(pb.RenewFlightEndpointRequest, body).endpoint
        self._tickets.renew(_handle(endpoint), call.principal)
        nanos = int(self._expires_wall_s() * 1e9)
        endpoint.expiration_time.FromNanoseconds(nanos)
        return [bytes(endpoint.SerializeToString())]

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
            handle = _handle(endpoint)
            statement = self._tickets.drop(handle, call.principal, "was cancelled")
            if statement is not None:
                self._queries.cancel_all_of(statement.cancelled)
                found = True
        return pb.CANCEL_STATUS_CANCELLED if found else pb.CANCEL_STATUS_NOT_CANCELLABLE


def _handle(endpoint: pb.FlightEndpoint) -> bytes:
    ticket = commands.decode_as(commands.TicketStatementQuery, endpoint.ticket.ticket)
    return ticket.statement_handle
