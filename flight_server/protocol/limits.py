"""The bounds of the Flight SQL layer, and what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from flight_server.statements import HandleBounds


@dataclass(frozen=True)
class ProtocolLimits:
    """Bounds; each names the error that a client gets when it is reached."""

    sql_bytes_max: int = 1 << 20  # RequestError
    plans_max: int = 8  # statements being planned at once; UnavailableError after slot_wait_s
    streams_max: int = 32  # statements that run at once; UnavailableError after slot_wait_s
    waiting_max: int = 64  # callers that wait for either at once; UnavailableError
    slot_wait_s: float = 5.0
    tickets: HandleBounds = HandleBounds(256)  # NotFoundError on the use of one that went
    ticket_ttl_s: float = 300.0  # from the planning of the statement
    prepared: HandleBounds = HandleBounds(1024)  # likewise
    prepared_ttl_s: float = 900.0  # from the last use
    transactions: HandleBounds = HandleBounds(1024)  # likewise
    transaction_idle_s: float = 300.0  # from the last statement
    transaction_max_s: float = 1800.0  # from its beginning, less than unneeded files are kept
    sessions_max: int = 1024  # with options set; RequestError on the use of one that went
    session_ttl_s: float = 86_400.0  # from its last use
    session_bytes_max: int = 64 << 10  # of the options of one session; LimitError
    parameter_bytes_max: int = 16 << 20  # of all bound rows; LimitError
    parameter_rows_max: int = 1000  # bound at once, each of which is one run; LimitError
    upload_bytes_max: int = 1 << 30  # read in order to refuse it in words; RequestError
    slice_rows_max: int = 1 << 16
    slice_bytes_max: int = 2 << 20  # below the 4 MiB that plain gRPC clients accept
    row_bytes_max: int = 15 << 20  # below the 16 MiB that ADBC accepts; LimitError


@dataclass(frozen=True)
class Product:
    """What the server says about itself, to clients."""

    name: str = "Highwater"
    version: str = "0.1.0"
