"""Session actions. The server keeps no session: every client is in the default one, for good.

Drivers set `catalog` and `schema` at connect. The values that are in force anyway are accepted, so
that they can; any other is refused instead of being accepted without an effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.protocol.commands import parse

if TYPE_CHECKING:
    from flight_server.protocol.limits import Product


def set_options(body: bytes, product: Product) -> bytes:
    """SetSessionOptionsRequest -> SetSessionOptionsResult, with an error for each option refused.

    An option without a value is unset, which leaves the default: always fine for a known name.
    """
    request = parse(pb.SetSessionOptionsRequest, body)
    result = pb.SetSessionOptionsResult()
    in_force = _options(product)
    for name, option in request.session_options.items():
        if name not in in_force:
            result.errors[name].value = pb.SetSessionOptionsResult.INVALID_NAME
        elif option.WhichOneof("option_value") and option.string_value != in_force[name]:
            result.errors[name].value = pb.SetSessionOptionsResult.INVALID_VALUE
    return bytes(result.SerializeToString())


def get_options(product: Product) -> bytes:
    """GetSessionOptionsResult with the defaults, which every client has."""
    result = pb.GetSessionOptionsResult()
    for name, value in _options(product).items():
        result.session_options[name].string_value = value
    return bytes(result.SerializeToString())


def close() -> bytes:
    """CloseSessionResult: nothing is kept, so that closing always succeeds."""
    closed = pb.CloseSessionResult(status=pb.CloseSessionResult.CLOSED)
    return bytes(closed.SerializeToString())


def _options(product: Product) -> dict[str, str]:
    return {"catalog": product.catalog, "schema": product.schema}
