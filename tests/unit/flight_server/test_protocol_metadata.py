from __future__ import annotations

from typing import Any

import datafusion
import pyarrow as pa
import pytest

from flight_server.ports import TableInfo
from flight_server.protocol import commands, schemas, sql_info, xdbc
from flight_server.protocol.limits import Product, ProtocolLimits
from flight_server.protocol.metadata import METADATA, Facts
from flight_server.query.functions import functions

_FACTS = sql_info.facts(Product(), ProtocolLimits())


def _by_code(table: pa.Table) -> dict[int, tuple[int, Any]]:
    union = table["value"].chunk(0)
    return {
        code.as_py(): (union.type_codes[row].as_py(), union[row].as_py())
        for row, code in enumerate(table["info_name"].chunk(0))
    }


def test_union_has_the_exact_layout() -> None:
    """33: a driver that finds another child 3 panics at connect"""
    table = sql_info.table(_FACTS, ())
    kind = table.schema.field("value").type

    assert str(kind) == (
        "dense_union<string_value: string not null=0, bool_value: bool not null=1, "
        "bigint_value: int64 not null=2, int32_bitmask: int32 not null=3, "
        "string_list: list<item: string> not null=4, "
        "int32_to_int32_list_map: map<int32, list<item: int32>> not null=5>"
    )
    table.validate(full=True)


def test_all_codes_have_the_child_that_drivers_cast_to() -> None:
    """33, 38, 39"""
    answers = _by_code(sql_info.table(_FACTS, ()))

    assert answers[8] == (sql_info.INT32, 1)
    assert answers[3] == (sql_info.BOOL, True)
    assert answers[504] == (sql_info.TEXT, '"')
    assert answers[528] == (sql_info.INT32, 6)
    for code in (503, 505, 507, *range(541, 556), *range(557, 563)):
        assert answers[code][0] == sql_info.INT64, code
    assert set(range(500, 577)) <= set(answers)
    assert max(answers) < 10_000


@pytest.mark.parametrize(("asked", "got"), [((8,), [8]), ((2, 0, 77_777), [0, 2]), ((77_777,), [])])
def test_unknown_codes_are_left_out(asked: tuple[int, ...], got: list[int]) -> None:
    assert sql_info.table(_FACTS, asked)["info_name"].to_pylist() == got


def test_functions_that_are_advertised_exist() -> None:
    config = datafusion.SessionConfig().with_information_schema(enabled=True)
    context = datafusion.SessionContext(config)
    for function in functions("1", "public", "me"):
        context.register_udf(function)
    routines = context.sql("select distinct routine_name as r from information_schema.routines")
    known = set(routines.to_pydict()["r"])

    for code in range(509, 513):
        assert set(_FACTS[code][1]) <= known


def test_every_metadata_command_answers_its_schema() -> None:
    """34"""
    table = TableInfo("c", "s", "t", "TABLE", pa.schema([("p", pa.decimal128(18, 8))]))
    facts = Facts(lambda: [table], _FACTS)
    samples = [kind(**_needed(kind)) for kind in METADATA]

    for command in samples:
        answer = METADATA[type(command)]
        rows = answer.table(command, facts)
        assert rows.schema.equals(answer.schema(command), check_metadata=True), command


def _needed(kind: type[Any]) -> dict[str, str]:
    return {
        name: "t" for name in kind.__dataclass_fields__ if name in ("table", "pk_table", "fk_table")
    }


def test_table_schema_describes_columns_for_drivers() -> None:
    """21, 34"""
    table = TableInfo("c", "s", "t", "TABLE", pa.schema([("p", pa.decimal128(18, 8))]))
    command = commands.GetTables(include_schema=True)
    rows = METADATA[commands.GetTables].table(command, Facts(lambda: [table], _FACTS))

    field = pa.ipc.read_schema(pa.py_buffer(rows["table_schema"][0].as_py())).field("p")

    assert field.metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == b"DECIMAL"
    assert field.metadata[b"ARROW:FLIGHT:SQL:PRECISION"] == b"18"
    assert field.metadata[b"ARROW:FLIGHT:SQL:SCALE"] == b"8"
    assert b"ARROW:FLIGHT:SQL:REMARKS" not in field.metadata


def test_xdbc_types_are_filtered_and_ordered() -> None:
    """39"""
    every = xdbc.table(None)

    assert every["data_type"].to_pylist() == sorted(every["data_type"].to_pylist())
    assert xdbc.table(93).to_pylist()[0]["datetime_subcode"] == 3
    assert xdbc.table(93)["sql_data_type"].to_pylist() == [9]
    assert xdbc.table(1).num_rows == 0
    assert every.schema == schemas.XDBC_TYPES
    every.validate(full=True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.int64(), "BIGINT"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP"),
        (pa.list_(pa.string()), "LIST"),
        (pa.map_(pa.string(), pa.string()), "MAP"),
    ],
)
def test_arrow_types_have_sql_names(kind: pa.DataType, name: str) -> None:
    assert xdbc.name_of(kind) == name
