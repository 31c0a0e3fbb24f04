from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import RequestError, UnsupportedError
from flight_server.protocol import commands

_TEXT = st.text(max_size=5)
_MAYBE = st.none() | _TEXT
_COMMANDS = st.one_of(
    st.builds(commands.StatementQuery, _TEXT, st.none() | st.binary(max_size=3)),
    st.builds(commands.TicketStatementQuery, st.binary(max_size=3)),
    st.builds(commands.GetSqlInfo, st.lists(st.integers(0, 2**32 - 1)).map(tuple)),
    st.builds(commands.GetDbSchemas, _MAYBE, _MAYBE),
    st.builds(
        commands.GetTables, _MAYBE, _MAYBE, _MAYBE, st.lists(_TEXT).map(tuple), st.booleans()
    ),
    st.builds(commands.GetCrossReference, _TEXT, _TEXT, _MAYBE, _MAYBE, _MAYBE, _MAYBE),
    st.builds(commands.GetXdbcTypeInfo, st.none() | st.integers(-(2**31), 2**31 - 1)),
)


@given(_COMMANDS)
def test_commands_survive_the_wire(command: Any) -> None:
    """An empty optional field is not an absent one."""
    assert commands.decode(commands.encode(command)) == command


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(RequestError):
        commands.decode(data)


def test_command_of_another_kind_is_named() -> None:
    with pytest.raises(RequestError, match="expected ActionCancelQueryRequest"):
        commands.decode_as(commands.CancelQuery, commands.encode(commands.GetCatalogs()))


def test_type_url_counts_from_its_last_slash() -> None:
    data = AnyMessage(type_url="a/b/arrow.flight.protocol.sql.CommandGetCatalogs")

    assert commands.decode(data.SerializeToString()) == commands.GetCatalogs()


def test_bare_name_is_no_flight_sql_type() -> None:
    with pytest.raises(UnsupportedError):
        commands.decode(AnyMessage(type_url="CommandGetCatalogs").SerializeToString())
