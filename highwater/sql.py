"""`highwater sql`: asks the server over ADBC and writes the answer as it arrives."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager as adbc
import pyarrow as pa

from contract.errors import (
    CancelledError,
    HighwaterError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
)
from contract.settings import load, setting
from flight_server.cut.request import WAIT_DEFAULT_S, WAIT_MAX_S, Policy, with_hint
from highwater.access import AccessSettings, checked_uri, driver_options
from highwater.cut_words import cut_words
from highwater.output import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECEIPT_KEY = b"highwater.receipt"
DEFAULT_URI = "grpc://127.0.0.1:31337"
_NO_OPTIONS: Mapping[str, str] = {}
_TLS_REFUSED = "authentication handshake failed: "
_BROKEN_OFF = ("error reading server preface", "broken pipe", "connection reset")
_UNREACHABLE = ("connection refused", "connection error", "name resolver", "no such host")


@dataclass(frozen=True)
class SqlSettings(AccessSettings):
    """Ask the server one statement and print the answer."""

    statement: str = setting(
        "", doc="One SQL statement", positional=True, default_doc="read from standard input"
    )
    uri: str = setting(DEFAULT_URI, doc="Address of the server")
    format: str = setting(
        "table", doc="Form of the answer", choices=("table", "csv", "json", "arrow")
    )
    output: str = setting("", doc="File to write to", default_doc="standard output")
    receipt: bool = setting(False, doc="Print the receipt as JSON on standard error")
    at: str = setting(
        "",
        doc="Exactly the cut of this receipt: a file, its text, or - for standard input",
        default_doc="the newest cut",
    )
    at_least: str = setting(
        "",
        doc='At least this cut: a receipt as in --at, {"table": {"partition": offset}} with the '
        "offsets of messages, or a broker time",
        default_doc="the newest cut",
    )
    wait_s: float = setting(
        WAIT_DEFAULT_S, doc="Longest wait for that cut", unit="s", minimum=0.0, maximum=WAIT_MAX_S
    )
    policy: str = setting(
        Policy.WAIT.value,
        doc="If it is not there: wait for it, fail at once, or wait and then answer with what is",
        choices=tuple(p.value for p in Policy),
    )
    max_rows: int = setting(
        1_000, doc="Rows shown by the format table", unit="rows", minimum=1, maximum=1_000_000
    )
    timeout_s: float = setting(
        300.0, doc="Longest wait for the server", unit="s", minimum=0.1, maximum=86_400
    )


class StatementError(HighwaterError):
    """The server refused or failed the statement; the text is the engine's."""


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Ask and print. Raises StatementError, UnavailableError, RequestError for the settings."""
    settings = load(SqlSettings, "sql", argv, environ)
    words = cut_words(settings)
    statement = with_hint(settings.statement or _standard_input(), words)
    with (
        connect(
            checked_uri(settings.uri), settings.timeout_s, driver_options(settings)
        ) as connection,
        asked(connection, statement) as reader,
        _target(settings.output) as target,
    ):
        write(reader, settings.format, target, settings.max_rows)
        receipt = receipt_of(reader.schema)
    if settings.receipt:
        print(receipt or "this server gives no receipt", file=sys.stderr)
    return 0


@contextlib.contextmanager
def connect(uri: str, timeout_s: float, access: Mapping[str, str] = _NO_OPTIONS) -> Iterator[Any]:
    """A DB-API connection of ADBC; its errors, also those of statements, become ours.

    `access`: see `highwater.access.driver_options`.
    """
    timeout = str(timeout_s)
    options = dict(access) | {
        f"adbc.flight.sql.rpc.timeout_seconds.{call}": timeout
        for call in ("fetch", "query", "update")
    }
    try:
        # Autocommit, because nothing is ever written and a transaction would have to be begun.
        with flight_sql.connect(uri, db_kwargs=options, autocommit=True) as connection:
            yield connection
    except (adbc.Error, pa.ArrowInvalid, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise as_ours(error, uri) from error


@contextlib.contextmanager
def asked(connection: Any, statement: str) -> Iterator[pa.RecordBatchReader]:
    """The answer of one statement, batch by batch."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        with cursor.fetch_record_batch() as reader:
            yield reader


def receipt_of(schema: pa.Schema) -> str | None:
    """The receipt of a result, as JSON text."""
    found = (schema.metadata or {}).get(RECEIPT_KEY)
    return None if found is None else found.decode()


def as_ours(error: Exception, uri: str) -> HighwaterError:
    """The error of the driver in the words of its remedy."""
    text = str(error)
    if _TLS_REFUSED in text:
        reason = text.partition(_TLS_REFUSED)[2].partition('"')[0]
        return RequestError(f"no TLS with {uri} ({reason}): check --tls-ca and --tls-server-name")
    if any(sign in text for sign in _BROKEN_OFF):
        return UnavailableError(
            f"the server at {uri} broke the connection off: it may want TLS (grpc+tls://...), or a "
            "certificate (--tls-cert, --tls-key)"
        )
    if any(sign in text.lower() for sign in _UNREACHABLE):
        return UnavailableError(
            f"no server answers at {uri}: start one with `highwater serve`, or name it with --uri"
        )
    if getattr(error, "status_code", None) == adbc.AdbcStatusCode.UNAUTHENTICATED:
        return UnauthenticatedError(f"{engine_words(text)} (--user or --token-file)")
    if getattr(error, "status_code", None) in {
        adbc.AdbcStatusCode.CANCELLED,
        adbc.AdbcStatusCode.TIMEOUT,
    }:
        return CancelledError(f"the server took too long (--timeout-s): {engine_words(text)}")
    return StatementError(engine_words(text))


def engine_words(text: str) -> str:
    """The message of the server without what the driver puts around it."""
    words = text.partition("[FlightSQL] ")[2] or text
    for end in (
        ". Detail: Python exception:",
        " (InvalidArgument;",
        ". Detail: Unauthenticated",
        ". Vendor code:",
    ):
        words = words.partition(end)[0]
    return words


def _standard_input() -> str:
    statement = "" if sys.stdin.isatty() else sys.stdin.read()
    if not statement.strip():
        raise RequestError('sql: there is no statement; for example: highwater sql "select 1"')
    return statement


@contextlib.contextmanager
def _target(output: str) -> Iterator[BinaryIO]:
    if not output:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with Path(output).open("wb") as file:
            yield file
    except OSError as error:
        raise RequestError(f"--output {output}: {error.strerror}") from error
