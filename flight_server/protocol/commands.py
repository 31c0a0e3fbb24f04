"""Protobuf bytes <-> frozen dataclasses: the only place that knows how commands are wrapped.

A command is one dataclass whose fields are named as in flight_sql.proto, and one entry in
`COMMANDS`. An `optional` field that is not set is None, which differs from an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from contract.errors import RequestError, UnsupportedError
from flight_server.protocol import flight_sql_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

TYPE_URL = "type.googleapis.com/arrow.flight.protocol.sql."
_PACKAGE = "arrow.flight.protocol.sql."


@dataclass(frozen=True)
class StatementQuery:
    """Run one SQL text."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True)
class TicketStatementQuery:
    """Fetch the rows of a planned statement."""

    statement_handle: bytes


@dataclass(frozen=True)
class PreparedStatementQuery:
    """Bind to, plan or fetch a prepared statement."""

    prepared_statement_handle: bytes


@dataclass(frozen=True)
class StatementUpdate:
    """A write as SQL text."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True)
class PreparedStatementUpdate:
    """A write as a prepared statement."""

    prepared_statement_handle: bytes


@dataclass(frozen=True)
class StatementIngest:
    """A bulk upload into a table."""

    table: str
    schema: str | None = None
    catalog: str | None = None


@dataclass(frozen=True)
class GetSqlInfo:
    """Facts about the server; no numbers = all of them."""

    info: tuple[int, ...] = ()


@dataclass(frozen=True)
class GetCatalogs:
    """All catalogs."""


@dataclass(frozen=True)
class GetDbSchemas:
    """Schemas by catalog (exact) and LIKE pattern."""

    catalog: str | None = None
    db_schema_filter_pattern: str | None = None


@dataclass(frozen=True)
class GetTables:
    """Tables by catalog (exact), LIKE patterns and kinds."""

    catalog: str | None = None
    db_schema_filter_pattern: str | None = None
    table_name_filter_pattern: str | None = None
    table_types: tuple[str, ...] = ()
    include_schema: bool = False


@dataclass(frozen=True)
class GetTableTypes:
    """The kinds of tables."""


@dataclass(frozen=True)
class GetPrimaryKeys:
    """Primary key of one table."""

    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True)
class GetExportedKeys:
    """Foreign keys that point to one table."""

    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True)
class GetImportedKeys:
    """Foreign keys of one table."""

    table: str
    catalog: str | None = None
    db_schema: str | None = None


@dataclass(frozen=True)
class GetCrossReference:
    """Foreign keys from one table to another."""

    pk_table: str
    fk_table: str
    pk_catalog: str | None = None
    pk_db_schema: str | None = None
    fk_catalog: str | None = None
    fk_db_schema: str | None = None


@dataclass(frozen=True)
class GetXdbcTypeInfo:
    """The SQL types; None = all of them."""

    data_type: int | None = None


@dataclass(frozen=True)
class CreatePreparedStatement:
    """Body of the action of that name."""

    query: str
    transaction_id: bytes | None = None


@dataclass(frozen=True)
class ClosePreparedStatement:
    """Body of the action of that name."""

    prepared_statement_handle: bytes


@dataclass(frozen=True)
class BeginTransaction:
    """Body of the action of that name."""


@dataclass(frozen=True)
class EndTransaction:
    """Body of the action of that name; `action` as in ActionEndTransactionRequest."""

    transaction_id: bytes
    action: int


@dataclass(frozen=True)
class CancelQuery:
    """Body of the action of that name: a serialised FlightInfo."""

    info: bytes


COMMANDS: Mapping[str, type[Any]] = {
    "CommandStatementQuery": StatementQuery,
    "TicketStatementQuery": TicketStatementQuery,
    "CommandPreparedStatementQuery": PreparedStatementQuery,
    "CommandStatementUpdate": StatementUpdate,
    "CommandPreparedStatementUpdate": PreparedStatementUpdate,
    "CommandStatementIngest": StatementIngest,
    "CommandGetSqlInfo": GetSqlInfo,
    "CommandGetCatalogs": GetCatalogs,
    "CommandGetDbSchemas": GetDbSchemas,
    "CommandGetTables": GetTables,
    "CommandGetTableTypes": GetTableTypes,
    "CommandGetPrimaryKeys": GetPrimaryKeys,
    "CommandGetExportedKeys": GetExportedKeys,
    "CommandGetImportedKeys": GetImportedKeys,
    "CommandGetCrossReference": GetCrossReference,
    "CommandGetXdbcTypeInfo": GetXdbcTypeInfo,
    "ActionCreatePreparedStatementRequest": CreatePreparedStatement,
    "ActionClosePreparedStatementRequest": ClosePreparedStatement,
    "ActionBeginTransactionRequest": BeginTransaction,
    "ActionEndTransactionRequest": EndTransaction,
    "ActionCancelQueryRequest": CancelQuery,
}
_NAMES = {kind: name for name, kind in COMMANDS.items()}
_M = TypeVar("_M", bound="Message")
_C = TypeVar("_C")


def parse(message: type[_M], data: bytes) -> _M:
    """`data` as a protobuf message; RequestError when it is none."""
    try:
        return message.FromString(data)  # type: ignore[no-any-return,unused-ignore]
    except DecodeError:
        name = message.DESCRIPTOR.name
        raise RequestError(f"the bytes sent are not a {name} message") from None


def decode(data: bytes) -> Any:
    """The command inside an Any; RequestError for broken bytes, UnsupportedError for others."""
    wrapped = parse(AnyMessage, data)
    if not wrapped.type_url:
        raise RequestError("no Flight SQL command: the bytes sent are not an Any with a type_url")
    full_name = wrapped.type_url.rpartition("/")[2]
    name = full_name.removeprefix(_PACKAGE)
    if full_name == name or name not in COMMANDS:
        raise UnsupportedError(f"this server does not support {full_name[:200]}")
    return _to_dataclass(parse(getattr(pb, name), wrapped.value), COMMANDS[name])


def decode_as(kind: type[_C], data: bytes) -> _C:
    """The command inside an Any, which must be of `kind`; RequestError when it is another."""
    command = decode(data)
    if not isinstance(command, kind):
        raise RequestError(f"expected {_NAMES[kind]}, got {_NAMES[type(command)]}")
    return command


def encode(command: Any) -> bytes:
    """The Any of one of the dataclasses above."""
    name = _NAMES[type(command)]
    set_fields = {
        field.name: value
        for field in fields(command)
        if (value := getattr(command, field.name)) is not None
    }
    return wrap(name, getattr(pb, name)(**set_fields))


def wrap(name: str, message: Message) -> bytes:
    """`message` in an Any, under the public name of its type."""
    return bytes(
        AnyMessage(type_url=TYPE_URL + name, value=message.SerializeToString()).SerializeToString()
    )


def _to_dataclass(message: Message, kind: type[Any]) -> Any:
    descriptors = message.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = getattr(message, field.name)
        if descriptors[field.name].is_repeated:
            value = tuple(value)
        elif descriptors[field.name].has_presence and not message.HasField(field.name):
            value = None
        values[field.name] = value
    return kind(**values)
