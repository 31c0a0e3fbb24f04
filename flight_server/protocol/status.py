"""Errors -> Flight statuses: the only place that decides what a client sees of a failure.

| class             | wanted                | what pyarrow can send                       |
|-------------------|-----------------------|---------------------------------------------|
| NotFoundError     | NOT_FOUND             | NOT_FOUND                                   |
| ReadOnlyError     | PERMISSION_DENIED     | PERMISSION_DENIED (get_schema: INVALID_ARGUMENT) |
| UnauthenticatedError | UNAUTHENTICATED    | UNAUTHENTICATED                             |
| UnsupportedError  | UNIMPLEMENTED         | UNIMPLEMENTED                               |
| RequestError      | INVALID_ARGUMENT      | INVALID_ARGUMENT                            |
| UnavailableError  | UNAVAILABLE           | UNAVAILABLE (get_schema: UNKNOWN)           |
| CancelledError    | CANCELLED             | CANCELLED (get_schema: UNKNOWN)             |
| LimitError        | RESOURCE_EXHAUSTED    | UNKNOWN, text begins "resource exhausted: " |
| OperatorError     | FAILED_PRECONDITION   | UNKNOWN, text begins "failed precondition: "|
| BugError, unknown | INTERNAL              | INTERNAL (get_schema: UNKNOWN)              |

pyarrow gives INVALID_ARGUMENT, NOT_FOUND and UNIMPLEMENTED only to exceptions that are not Flight
errors, and appends their formatted traceback to the message. `_Wordless` exceptions cannot be
formatted, on which pyarrow falls back to the class's name: no file path leaves the server, and
tracebacks in our own log stay whole, which the global `sys.tracebacklimit` would cut.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyarrow import flight

from contract import errors

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_BYTES_MAX = 1024  # the text is sent twice, percent-encoded, in trailers of at most 8 KiB
_log = logging.getLogger("highwater.flight")


def _text(error: BaseException) -> str:
    return str(error.args[0])


def _unformattable(_: BaseException) -> bool:
    raise AttributeError("this exception is only ever turned into a status")


class _Wordless(Exception):  # noqa: N818
    """An exception whose traceback nobody can format; its text is its only argument."""

    __str__ = _text
    __suppress_context__ = property(_unformattable)


class InvalidArgument(_Wordless, ValueError):  # noqa: N818
    """Sent as INVALID_ARGUMENT."""


class NotFound(_Wordless, KeyError):  # noqa: N818
    """Sent as NOT_FOUND."""


class Unimplemented(_Wordless, NotImplementedError):  # noqa: N818
    """Sent as UNIMPLEMENTED."""


class Unknown(_Wordless, RuntimeError):  # noqa: N818
    """Sent as UNKNOWN."""


_Status = tuple[type[errors.HighwaterError], "Callable[[str], Exception]", str]
_STATUSES: tuple[_Status, ...] = (
    (errors.NotFoundError, NotFound, ""),
    (errors.ReadOnlyError, flight.FlightUnauthorizedError, ""),
    (errors.UnauthenticatedError, flight.FlightUnauthenticatedError, ""),
    (errors.UnsupportedError, Unimplemented, ""),
    (errors.RequestError, InvalidArgument, ""),
    (errors.UnavailableError, flight.FlightUnavailableError, ""),
    (errors.CancelledError, flight.FlightCancelledError, ""),
    (errors.LimitError, Unknown, "resource exhausted: "),
    (errors.OperatorError, Unknown, "failed precondition: "),
)


def translate(error: BaseException, new_error_id: Callable[[], str]) -> Exception:
    """The exception to raise to pyarrow for `error`; one that is not ours is logged with its id."""
    for kind, build, prefix in _STATUSES:
        if isinstance(error, kind):
            _log.info("refused: %s: %s", kind.__name__, error)
            return build(shorten(prefix + str(error)))
    error_id = new_error_id()
    _log.error("internal error %s", error_id, exc_info=error)
    text = f"internal error {error_id}; the server's log says more under this id"
    internal: Exception = flight.FlightInternalError(text)
    return internal


def for_get_schema(raised: Exception) -> Exception:
    """The nearest to `raised` for get_schema, where pyarrow sends every Flight error as UNKNOWN."""
    if isinstance(raised, flight.FlightUnauthorizedError):
        return InvalidArgument(str(raised))
    return Unknown(str(raised)) if isinstance(raised, flight.FlightError) else raised


def shorten(text: str) -> str:
    """`text` in at most TEXT_BYTES_MAX bytes of UTF-8, without control characters."""
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in text[:TEXT_BYTES_MAX])
    encoded = printable.encode("utf-8", "replace")
    if len(encoded) <= TEXT_BYTES_MAX and len(text) <= TEXT_BYTES_MAX:
        return printable
    return encoded[: TEXT_BYTES_MAX - len("…".encode())].decode("utf-8", "ignore") + "…"
