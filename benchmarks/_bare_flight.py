"""A Flight SQL server that answers with constants: the floor of what a statement can cost.

    python -m benchmarks._bare_flight RESULT

Says its port on the first line of its output. Every statement is answered with one row but
`LARGE`, which gets the table in RESULT, an Arrow IPC file, from memory. It takes the same RPCs as
the product: metadata, prepared statements, GetFlightInfo, DoGet.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.flight as flight

from flight_server.protocol import commands, sql_info
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.limits import Product, ProtocolLimits
from flight_server.protocol.metadata import METADATA, Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = "select * from large"
ONE = pa.table({"Int64(1)": pa.array([1], pa.int64())})

_ONE_HANDLE = b"1" * 16
_LARGE_HANDLE = b"2" * 16
_NO_PARAMETERS = bytes(pa.schema([]).serialize())


class BareServer(flight.FlightServerBase):  # type: ignore[misc]
    """Constants."""

    def __init__(self, large: pa.Table) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._tables = {_ONE_HANDLE: ONE, _LARGE_HANDLE: large}
        self._facts = Facts(lambda: (), sql_info.facts(Product(), ProtocolLimits()))

    def do_action(self, _: Any, action: flight.Action) -> Iterator[bytes]:
        """A prepared statement's handle says which table it is."""
        if action.type != "CreatePreparedStatement":
            return iter(())
        request = commands.decode_as(commands.CreatePreparedStatement, action.body.to_pybytes())
        handle = _LARGE_HANDLE if request.query == LARGE else _ONE_HANDLE
        result = pb.ActionCreatePreparedStatementResult(
            prepared_statement_handle=handle,
            dataset_schema=bytes(self._tables[handle].schema.serialize()),
            parameter_schema=_NO_PARAMETERS,
        )
        return iter([commands.wrap("ActionCreatePreparedStatementResult", result)])

    def get_flight_info(self, _: Any, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        """The ticket is the handle."""
        command = commands.decode(descriptor.command)
        if answer := METADATA.get(type(command)):
            schema, ticket = answer.schema(command), descriptor.command
        elif isinstance(command, commands.PreparedStatementQuery):
            handle = command.prepared_statement_handle
            schema, ticket = self._tables[handle].schema, handle
        else:
            handle = _LARGE_HANDLE if getattr(command, "query", "") == LARGE else _ONE_HANDLE
            schema, ticket = self._tables[handle].schema, handle
        return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(ticket, [])])

    def do_get(self, _: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        """From memory."""
        if (table := self._tables.get(ticket.ticket)) is not None:
            return flight.RecordBatchStream(table)
        command = commands.decode(ticket.ticket)
        return flight.RecordBatchStream(METADATA[type(command)].table(command, self._facts))


def main(result: Path) -> None:
    """Serve until it is stopped."""
    with pa.memory_map(str(result)) as source:
        large = pa.ipc.open_file(source).read_all()
        server = BareServer(large)
        print(server.port, flush=True)
        server.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
