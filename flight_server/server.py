"""The Flight server: bytes in, handler call, Flight object out. No logic of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import flight

from contract.errors import CancelledError, RequestError, UnsupportedError
from flight_server.handlers.service import FlightSqlService
from flight_server.handlers.values import Call
from flight_server.protocol import status
from flight_server.protocol.handshake import CALLER
from flight_server.protocol.limits import Product, ProtocolLimits
from flight_server.running import Queries
from flight_server.security.callers import Anonymous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.clock import Clock
    from flight_server.ports import Engine
    from flight_server.security.callers import Callers
    from flight_server.security.listening import Tls

_DEFAULT_LIMITS = ProtocolLimits()
_DEFAULT_PRODUCT = Product()


class HighwaterFlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Flight SQL on one address; it listens from construction on (`port` says where).

    `new_id` gives at least 16 unguessable bytes. Without `tls`, everything is sent in clear.
    """

    def __init__(
        self,
        location: str,
        engine: Engine,
        *,
        clock: Clock,
        new_id: Callable[[], bytes],
        limits: ProtocolLimits = _DEFAULT_LIMITS,
        product: Product = _DEFAULT_PRODUCT,
        callers: Callers | None = None,
        tls: Tls | None = None,
        queries: Queries | None = None,
    ) -> None:
        self._limits = limits
        self._new_id = new_id
        self._service = FlightSqlService(
            engine, limits, product, clock, new_id, queries or Queries(clock)
        )
        self._callers = callers or Anonymous(new_id)
        super().__init__(
            location,
            auth_handler=self._callers.auth_handler,
            middleware={CALLER: self._callers.middleware},
            **_tls_options(tls),
        )

    def shutdown(self) -> None:
        """Stop accepting, end running streams, wait for them."""
        self._service.stop()
        super().shutdown()

    def purge_expired(self) -> None:
        """Drop expired handles with the cuts they pin, end statements that ran for too long.

        For a timer: an idle server needs it, and callers that have stopped reading do.
        """
        self._service.purge()

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Plan a query, or describe a metadata answer."""
        with self._guard():
            info = self._service.info(_command(descriptor), self._call(context))
            expires = None
            if info.expires_wall_s is not None:
                expires = pa.scalar(int(info.expires_wall_s * 1e9), pa.timestamp("ns", "UTC"))
            endpoint = flight.FlightEndpoint(info.ticket, [], expiration_time=expires)
            return flight.FlightInfo(
                info.schema, descriptor, [endpoint], app_metadata=info.app_metadata
            )

    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """The schema of a query or metadata answer, without running it."""
        try:
            with self._guard():
                return flight.SchemaResult(
                    self._service.schema(_command(descriptor), self._call(context))
                )
        except Exception as raised:  # noqa: BLE001 - already a status; get_schema has fewer
            raise status.for_get_schema(raised) from None

    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.GeneratorStream:
        """Stream the rows of a ticket."""
        with self._guard():
            rows = self._service.rows(ticket.ticket, self._call(context))
            return flight.GeneratorStream(rows.schema, self._guarded(rows.batches))

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Bind parameters; refuse writes."""
        with self._guard():
            upload = self._upload(context, reader)
            try:
                reply = self._service.put(_command(descriptor), upload, self._call(context))
            finally:
                # an upload that is not read to its end breaks before the client sees the answer
                for _ in upload:
                    pass
            writer.write(reply)

    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterator[bytes]:
        """Run one action."""
        with self._guard():
            body = action.body.to_pybytes() if action.body is not None else b""
            return iter(self._service.act(action.type, body, self._call(context)))

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        """The actions of `do_action`."""
        with self._guard():
            self._call(context)
            return self._service.actions()

    def list_flights(self, context: flight.ServerCallContext, criteria: bytes) -> None:  # noqa: ARG002
        """Not part of Flight SQL."""
        with self._guard():
            self._call(context)
            raise UnsupportedError("ListFlights is not supported: list the tables with SQL")

    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,  # noqa: ARG002
        reader: object,  # noqa: ARG002
        writer: object,  # noqa: ARG002
    ) -> None:
        """Not part of Flight SQL."""
        with self._guard():
            self._call(context)
            raise UnsupportedError("DoExchange is not supported")

    def _call(self, context: flight.ServerCallContext) -> Call:
        caller = context.get_middleware(CALLER)
        return Call(
            self._callers.identity(caller, context),
            caller.session,
            context.is_cancelled,
            caller.request_headers,
            context.add_header,
            caller.renamed,
        )

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """The one wrapper of all callbacks: what leaves is a status and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the outermost boundary
            raise status.translate(error, lambda: self._new_id().hex()[:8]) from None

    def _guarded(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._guard():
            yield from batches

    def _upload(
        self, context: flight.ServerCallContext, reader: flight.MetadataRecordBatchReader
    ) -> Iterator[pa.RecordBatch]:
        """The batches that the client sends, up to `upload_bytes_max` in all."""
        size_bytes = 0
        for chunk in reader:
            if context.is_cancelled():
                raise CancelledError("the upload was cancelled")
            if chunk.data is None:
                continue
            size_bytes += chunk.data.nbytes
            if size_bytes > self._limits.upload_bytes_max:
                raise RequestError(
                    f"the upload is larger than {self._limits.upload_bytes_max} bytes"
                )
            yield chunk.data


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    options: dict[str, Any] = {"tls_certificates": [(tls.cert, tls.key)]}
    if tls.client_ca is not None:
        options |= {"verify_client": True, "root_certificates": tls.client_ca}
    return options


def _command(descriptor: flight.FlightDescriptor) -> bytes:
    command: bytes | None = descriptor.command
    if command is None:
        raise RequestError("the descriptor holds a path; Flight SQL sends commands")
    return command
