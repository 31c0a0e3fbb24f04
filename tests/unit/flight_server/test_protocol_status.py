from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import flight

from contract import errors
from flight_server.protocol import status


def _all_errors(kind: type[errors.HighwaterError]) -> list[type[errors.HighwaterError]]:
    """The classes of the contract; a client's own ones never reach the server."""
    shared = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(leaf for child in shared for leaf in _all_errors(child))]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (errors.NotFoundError("m"), status.NotFound),
        (errors.ReadOnlyError("m"), flight.FlightUnauthorizedError),
        (errors.UnsupportedError("m"), status.Unimplemented),
        (errors.RequestError("m"), status.InvalidArgument),
        (errors.UnavailableError("m"), flight.FlightUnavailableError),
        (errors.CancelledError("m"), flight.FlightCancelledError),
        (errors.LimitError("m"), status.Unknown),
        (errors.OperatorError("m"), status.Unknown),
        (errors.BugError("m"), flight.FlightInternalError),
        (KeyError("m"), flight.FlightInternalError),
    ],
)
def test_each_error_has_one_status(error: Exception, raised: type[Exception]) -> None:
    assert type(status.translate(error, lambda: "abc")) is raised


def test_every_error_class_is_mapped_on_purpose() -> None:
    """A new class of the contract must not become an internal error by default."""
    internal = {
        kind
        for kind in _all_errors(errors.HighwaterError)
        if isinstance(status.translate(kind("m"), lambda: "abc"), flight.FlightInternalError)
    }

    assert internal == {errors.HighwaterError, errors.BugError}


def test_get_schema_gets_the_nearest_status() -> None:
    def of(error: Exception) -> type[Exception]:
        return type(status.for_get_schema(status.translate(error, lambda: "abc")))

    assert of(errors.ReadOnlyError("m")) is status.InvalidArgument
    assert of(errors.NotFoundError("m")) is status.NotFound
    assert of(errors.UnavailableError("m")) is status.Unknown


def test_status_exceptions_cannot_be_formatted() -> None:
    """The one way to keep pyarrow from appending the traceback to the message."""
    with pytest.raises(AttributeError):
        traceback.format_exception(status.InvalidArgument("m"))


@given(st.text())
def test_texts_are_short_and_printable(text: str) -> None:
    short = status.shorten(text * 20)

    assert len(short.encode()) <= status.TEXT_BYTES_MAX
    assert all(character.isprintable() or character == "\n" for character in short)


def test_short_texts_stay_as_they_are() -> None:
    assert status.shorten("No field named 'a'.\nDid you mean b?") == (
        "No field named 'a'.\nDid you mean b?"
    )
