"""Metadata commands on the wire, with filters that no stock driver sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import flight

from flight_server.protocol import commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["table_name"] for row in rows]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (commands.GetTables(), ["a_b", "axb", "kinds", "many", "t", "cut"]),
        (commands.GetTables(catalog=""), []),
        (commands.GetTables(db_schema_filter_pattern="sys%"), ["cut"]),
        (commands.GetTables(table_name_filter_pattern="a_b"), ["a_b"]),
        (commands.GetTables(table_name_filter_pattern="a_b%"), ["a_b", "axb"]),
        (commands.GetTables(table_name_filter_pattern=r"a\_b%"), ["a_b"]),
        (commands.GetTables(table_types=("BASE TABLE", "table")), ["a_b", "axb", "kinds", "t"]),
        (commands.GetTables(table_types=("VIEW",)), ["many"]),
    ],
)
def test_tables_are_filtered(
    client: flight.FlightClient, command: commands.GetTables, names: list[str]
) -> None:
    """22, 41"""
    info = client.get_flight_info(flight.FlightDescriptor.for_command(commands.encode(command)))
    rows = client.do_get(info.endpoints[0].ticket).read_all()

    assert _names(rows.to_pylist()) == names
    assert rows.schema.equals(info.schema, check_metadata=True)


@pytest.mark.parametrize(
    "command",
    [
        commands.GetPrimaryKeys("t"),
        commands.GetExportedKeys("t"),
        commands.GetImportedKeys("t"),
        commands.GetCrossReference("t", "axb"),
        commands.GetXdbcTypeInfo(),
        commands.GetXdbcTypeInfo(12),
        commands.GetSqlInfo(),
        commands.GetSqlInfo((8, 99_999)),
        commands.GetTables(include_schema=True),
        commands.GetDbSchemas("highwater", "%"),
    ],
    ids=lambda command: str(command)[:40],
)
def test_metadata_streams_have_the_promised_schema(
    client: flight.FlightClient, command: object
) -> None:
    """33, 34, 39, 40"""
    descriptor = flight.FlightDescriptor.for_command(commands.encode(command))
    info = client.get_flight_info(descriptor)
    rows = client.do_get(info.endpoints[0].ticket).read_all()

    assert rows.schema.equals(info.schema, check_metadata=True)
    assert rows.schema.equals(client.get_schema(descriptor).schema, check_metadata=True)
