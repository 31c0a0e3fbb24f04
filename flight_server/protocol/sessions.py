"""Messages of the session actions <-> plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.commands import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flight_server.options import OptionValue


def changes(body: bytes) -> dict[str, OptionValue | None]:
    """The options of a SetSessionOptionsRequest; one without a value is None: it is unset."""
    request = parse(pb.SetSessionOptionsRequest, body)
    return {name: _value(option) for name, option in request.session_options.items()}


def set_result(refused: Mapping[str, object | None]) -> bytes:
    """SetSessionOptionsResult: for each refused option, an unknown name (None) or a bad value."""
    result = pb.SetSessionOptionsResult()
    for name, reason in refused.items():
        invalid = result.INVALID_NAME if reason is None else result.INVALID_VALUE
        result.errors[name].value = invalid
    return bytes(result.SerializeToString())


def options_result(options: Mapping[str, OptionValue]) -> bytes:
    """GetSessionOptionsResult."""
    result = pb.GetSessionOptionsResult()
    for name, value in options.items():
        _fill(result.session_options[name], value)
    return bytes(result.SerializeToString())


def closed() -> bytes:
    """CloseSessionResult."""
    result = pb.CloseSessionResult(status=pb.CloseSessionResult.CLOSED)
    return bytes(result.SerializeToString())


def _value(option: pb.SessionOptionValue) -> OptionValue | None:
    kind = option.WhichOneof("option_value")
    if kind is None:
        return None
    if kind == "string_list_value":
        return tuple(option.string_list_value.values)
    value: OptionValue = getattr(option, kind)
    return value


def _fill(option: pb.SessionOptionValue, value: OptionValue) -> None:
    if isinstance(value, tuple):
        option.string_list_value.values.extend(value)
    elif isinstance(value, bool):  # which is an int as well
        option.bool_value = value
    elif isinstance(value, int):
        option.int64_value = value
    elif isinstance(value, float):
        option.double_value = value
    else:
        option.string_value = value
