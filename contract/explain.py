"""What is wrong with a message, in words that name the field. Runs where the parser refused some.

Every reason here is final: it only names what the parser or the decoder's checks refuse as well,
so a message with a reason needs no second opinion. The other way round this module may know less
than the parser: a message without a reason is not yet a row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NamedTuple, NoReturn

import pyarrow as pa

from contract.table import TIMESTAMP_RANGE_US, Column, TableDefinition

TOMBSTONE = "tombstone"  # the reason of a null value, and of no other
WHITESPACE = b" \t\r\n"  # of JSON; around a message it is no part of it
_REASON_MAX_CHARS = 300
_SHOWN_MAX_CHARS = 60
_WHOLE_MAX_CHARS = 40  # no column holds an integer with more; Python converts them slowly
_DECIMAL = re.compile(r"[+-]?(?:(\d+)\.?(\d*)|\.(\d+))(?:[eE][+-]?\d+)?", re.ASCII)

_Check = Callable[[Any], str | None]


class _RefusedError(ValueError):
    """The message is no row; the text says why."""


class _Number(NamedTuple):
    """A number that is not a short integer, as it was written."""

    text: str


class Look(NamedTuple):
    """What Python sees in a message."""

    reason: str | None  # why it is no row; None: nothing was found
    fields: dict[str, Any]  # empty if there is a reason


class Inspector:
    """Reads single messages of one table with Python's own means."""

    def __init__(self, definition: TableDefinition) -> None:
        self._names = frozenset(c.name for c in definition.columns)
        self._checks = [(c.name, c.required, _check_of(c)) for c in definition.columns]

    def explain(self, value: bytes | None) -> str:
        """The reason why this message, which the decoder rejected, is no row; one line."""
        return self.look(value).reason or "not a message of this table: the parser refused it"

    def look(self, value: bytes | None) -> Look:
        """Its fields, or the reason why it is no row as far as this module knows."""
        try:
            return Look(None, self._fields(value))
        except _RefusedError as error:
            reason = str(error)
        except UnicodeDecodeError as error:
            reason = f"invalid UTF-8 at byte {error.start}"
        except RecursionError:
            reason = "invalid JSON: nested too deeply"
        except ValueError as error:
            reason = f"invalid JSON: {error}"
        return Look(reason[:_REASON_MAX_CHARS], {})

    def _fields(self, value: bytes | None) -> dict[str, Any]:
        if value is None:
            raise _RefusedError(TOMBSTONE)
        text = value.decode()
        if text.startswith("\ufeff"):
            raise _RefusedError("invalid JSON: a byte order mark at its beginning")
        inner = value.strip(WHITESPACE)
        if not inner:
            raise _RefusedError("empty value")
        if b"\n" in inner:
            at = value.index(inner) + inner.index(b"\n")
            raise _RefusedError(f"newline inside the message, at byte {at}")
        message = _read(text)
        if not isinstance(message, dict):
            raise _RefusedError(f"not a JSON object but {_kind(message)}")
        if reason := self._reason(message):
            raise _RefusedError(reason)
        return message

    def _reason(self, message: dict[str, Any]) -> str | None:
        for name in message:
            if name not in self._names:
                return f"unknown field {_shown(name)}"
        for name, required, check in self._checks:
            value = message.get(name)
            if value is not None:
                if found := check(value):
                    return f"field {name!r}: {found}"
            elif required:
                found = "null, but required" if name in message else "missing"
                return f"field {name!r}: {found}"
        return None


def _whole(text: str) -> int | _Number:
    return int(text) if len(text) <= _WHOLE_MAX_CHARS else _Number(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _RefusedError(f"field {_shown(name)} is given twice")
    return fields


_read = json.JSONDecoder(
    object_pairs_hook=_unrepeated,
    parse_int=_whole,
    parse_float=_Number,
    parse_constant=_refuse_constant,
).decode


def _check_of(column: Column) -> _Check:
    """What finds the reason why a value that is not null is none of this column."""
    wanted = column.type
    if pa.types.is_string(wanted):
        return partial(_text_reason, column.values)
    if pa.types.is_decimal(wanted):
        return partial(_decimal_reason, int(wanted.precision), int(wanted.scale), _plain(wanted))
    if pa.types.is_timestamp(wanted):
        return _timestamp_reason
    if pa.types.is_list(wanted):
        return _list_reason
    if pa.types.is_map(wanted):
        return _map_reason
    return partial(_scalar_reason, wanted)


def _text_reason(allowed: tuple[str, ...], value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{_kind(value)} where text is expected"
    if not _is_unicode(value):
        return f"{_shown(value)} holds half of a surrogate pair"
    if allowed and value not in allowed:
        return f"{_shown(value)} is not one of {', '.join(allowed)}"
    return None


def _list_reason(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"{_kind(value)} where a list of texts is expected"
    return _texts_reason("a list of texts", value)


def _map_reason(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"{_kind(value)} where an object of texts is expected"
    return _texts_reason("an object of texts", [*value, *value.values()])


def _texts_reason(wanted: str, values: list[Any]) -> str | None:
    for value in values:
        if value is None:
            continue
        if not isinstance(value, str):
            return f"{_kind(value)} inside where {wanted} is expected"
        if not _is_unicode(value):
            return f"{_shown(value)} holds half of a surrogate pair"
    return None


def _is_unicode(text: str) -> bool:
    """JSON can write half a surrogate pair, which is no character and has no UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(wanted: pa.Decimal128Type) -> re.Pattern[str]:
    """The usual form of numbers that fit, to be quick with them."""
    whole = wanted.precision - wanted.scale
    fraction = rf"(?:\.[0-9]{{1,{wanted.scale}}})?" if wanted.scale else ""
    return re.compile((f"-?[0-9]{{1,{whole}}}" if whole else "-?0") + fraction)


def _decimal_reason(precision: int, scale: int, plain: re.Pattern[str], value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, _Number)):
        return f"{_kind(value)} where a decimal number is expected"
    text = value.text if isinstance(value, _Number) else str(value)
    if plain.fullmatch(text):
        return None
    written = _DECIMAL.fullmatch(text)
    if written is None:
        return f"{_shown(text)} is not a decimal number"
    whole, fraction, bare_fraction = (part or "" for part in written.groups())
    written_digits = len(whole.lstrip("0")) + len(fraction) + len(bare_fraction)
    if written_digits > precision or not _fits(precision, scale, text):
        return f"{_shown(text)} has more digits than decimal({precision},{scale}) holds"
    return None


def _fits(precision: int, scale: int, text: str) -> bool:
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of more digits than there are numbers
        return False
    if not number:
        return True
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # _DECIMAL matches no infinity
    digits = "".join(map(str, number.as_tuple().digits))
    lowest = exponent + len(digits) - len(digits.rstrip("0"))
    return lowest >= -scale and number.adjusted() < precision - scale


def _timestamp_reason(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{_kind(value)} where a whole number of microseconds is expected"
    low, high = TIMESTAMP_RANGE_US
    if not low <= value <= high:
        return f"{value} us is outside the range of timestamps, {low} to {high}"
    return None


def _scalar_reason(wanted: pa.DataType, value: Any) -> str | None:
    if pa.types.is_boolean(wanted):
        good = isinstance(value, bool)
    elif isinstance(value, bool):
        good = False
    elif pa.types.is_floating(wanted):
        good = isinstance(value, (int, _Number))
    else:
        good = isinstance(value, int) and -(2**63) <= value < 2**63
    return None if good else f"{_kind(value)} where a value of type {wanted} is expected"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, _Number)):
        return f"the number {_cut(value.text if isinstance(value, _Number) else str(value))}"
    names: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _shown(value: str) -> str:
    return _cut(repr(value[: _SHOWN_MAX_CHARS + 1]))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX_CHARS else text[:_SHOWN_MAX_CHARS] + "…"
