"""Why a message is a dead letter, in words that name the field. Runs for rejects only."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from contract.table import TIMESTAMP_RANGE_US, Column, TableDefinition

TOMBSTONE = "tombstone"  # the reason of a null value; the sidecar counts these apart
_REASON_MAX_CHARS = 300
_SHOWN_MAX_CHARS = 60


class _RepeatedFieldError(ValueError):
    pass


def explain(definition: TableDefinition, value: bytes | None) -> str:
    """The reason why this message, which the decoder rejected, is no row; one line."""
    found = reason(definition, value) or "not a message of this table: the parser refused it"
    return found[:_REASON_MAX_CHARS]


def reason(definition: TableDefinition, value: bytes | None) -> str | None:
    """What is wrong with this message as far as this module knows; None: nothing."""
    if value is None:
        return TOMBSTONE
    if found := _bytes_reason(value):
        return found
    try:
        message = json.loads(value, object_pairs_hook=_unrepeated)
    except _RepeatedFieldError as error:
        return str(error)
    except RecursionError:
        return "invalid JSON: nested too deeply"
    except ValueError as error:
        return f"invalid JSON: {error}"
    return _message_reason(definition, message)


def map_keys(value: bytes, column: str) -> dict[str, None]:
    """The keys of the object in that field, in order; none where there is no such object."""
    try:
        message = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    inner = message.get(column) if isinstance(message, dict) else None
    return dict.fromkeys(inner) if isinstance(inner, dict) else {}


def _bytes_reason(value: bytes) -> str | None:
    if not value:
        return "empty value"
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start}"
    at = value.strip(b" \t\r\n").find(b"\n")
    if at >= 0:
        return f"newline inside the message, at byte {at}"
    return None


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise _RepeatedFieldError(f"field {_shown(twice)} is given twice")
    return fields


def _message_reason(definition: TableDefinition, message: object) -> str | None:
    if not isinstance(message, dict):
        return f"not a JSON object but {_kind(message)}"
    columns = {c.name: c for c in definition.columns}
    for name in message:
        if name not in columns:
            return f"unknown field {_shown(name)}"
    for column in definition.columns:
        if column.name not in message and column.required:
            return f"field {column.name!r} is missing"
        if found := _field_reason(column, message.get(column.name)):
            return f"field {column.name!r}: {found}"
    return None


def _field_reason(column: Column, value: Any) -> str | None:
    if value is None:
        return "null, but required" if column.required else None
    if pa.types.is_decimal(column.type):
        return _decimal_reason(column.type, value)
    if pa.types.is_timestamp(column.type):
        return _timestamp_reason(value)
    if not _has_type(column.type, value):
        return f"{_kind(value)} where {_wanted(column.type)} is expected"
    if column.values and value not in column.values:
        return f"{_shown(value)} is not one of {', '.join(column.values)}"
    return None


def _decimal_reason(decimal_type: pa.Decimal128Type, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f"{_kind(value)} where a decimal number is expected"
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return f"{_shown(value)} is not a decimal number"
    if not number.is_finite():
        return f"{_shown(value)} is not a decimal number"
    exponent = number.as_tuple().exponent
    whole = decimal_type.precision - decimal_type.scale
    if -int(exponent) > decimal_type.scale or number.adjusted() >= whole:
        return f"{_shown(value)} has more digits than {decimal_type} holds"
    return f"{_shown(value)} is not written as a decimal number" if _odd(value) else None


def _odd(value: Any) -> bool:
    """Forms that Python reads as a number and the parser does not."""
    return isinstance(value, str) and (value != value.strip() or "_" in value)


def _timestamp_reason(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{_kind(value)} where a whole number of microseconds is expected"
    low, high = TIMESTAMP_RANGE_US
    if not low <= value <= high:
        return f"{value} us is outside the range of timestamps, {low} to {high}"
    return None


def _has_type(wanted: pa.DataType, value: Any) -> bool:
    if pa.types.is_string(wanted):
        return isinstance(value, str)
    if pa.types.is_boolean(wanted):
        return isinstance(value, bool)
    if pa.types.is_list(wanted):
        return isinstance(value, list) and all(v is None or isinstance(v, str) for v in value)
    if pa.types.is_map(wanted):
        return isinstance(value, dict) and all(
            v is None or isinstance(v, str) for v in value.values()
        )
    if pa.types.is_floating(wanted):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    in_range = isinstance(value, int) and -(2**63) <= value < 2**63
    return in_range and not isinstance(value, bool)


def _wanted(wanted: pa.DataType) -> str:
    if pa.types.is_string(wanted):
        return "text"
    if pa.types.is_list(wanted):
        return "a list of texts"
    if pa.types.is_map(wanted):
        return "an object of texts"
    return f"a value of type {wanted}"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return f"the number {_shown(value)}"
    names = {str: "text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "a value of another type")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX_CHARS else text[:_SHOWN_MAX_CHARS] + "…"
