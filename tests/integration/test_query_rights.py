"""What a reader of named tables can find out about the others: nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from contract.errors import RequestError
from flight_server.ports import Asker
from flight_server.query.information import INFORMATION_TABLES
from flight_server.security.identity import EVERYBODY, Identity
from tests.support.joint import Joint, half_committed

if TYPE_CHECKING:
    from collections.abc import Iterator

TRADER = Identity("tom", tables=frozenset({"trades"}))
STRANGER = Identity("sue", tables=frozenset({"quotes"}))
OF_TRADES = ["trades", "trades_dead", "trades_history", "trades_tail"]
OF_ALL = ["cut", "gaps", "snapshots", "tables", "tail_chunks"]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joint]:
    with half_committed(tmp_path_factory.mktemp("joint"), 100) as made:
        yield made


def ask(joint: Joint, sql: str, identity: Identity) -> pa.Table:
    plan = joint.engine.plan(sql, None, Asker(identity))
    return pa.Table.from_batches(plan.stream(), schema=plan.schema)


def column(joint: Joint, sql: str, identity: Identity) -> list[object]:
    return list(ask(joint, sql, identity).column(0).to_pylist())


@pytest.mark.parametrize("name", OF_TRADES)
def test_a_reader_reads_the_four_tables_of_a_grant(joint: Joint, name: str) -> None:
    sql = f"SELECT count(*) AS n FROM {name}"

    assert ask(joint, sql, TRADER) == ask(joint, sql, EVERYBODY)


@pytest.mark.parametrize("name", [*OF_TRADES, "public.trades", "highwater.public.trades"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {}",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM {})",
        "WITH t AS (SELECT * FROM {}) SELECT 1",
        "SELECT * FROM system.cut, {}",
        "SELECT (SELECT count(*) FROM {})",
        "EXPLAIN SELECT * FROM {}",
        "DESCRIBE {}",
        "SHOW COLUMNS FROM {}",
    ],
)
def test_another_table_is_as_unknown_as_one_that_never_was(
    joint: Joint, name: str, sql: str
) -> None:
    with pytest.raises(RequestError) as forbidden:
        ask(joint, sql.format(name), STRANGER)
    absent = name.replace("trades", "nothing")
    with pytest.raises(RequestError) as unknown:
        ask(joint, sql.format(absent), STRANGER)

    assert type(forbidden.value) is type(unknown.value)
    assert str(forbidden.value).replace("trades", "nothing") == str(unknown.value)


def test_parameters_of_a_statement_over_another_table_are_not_inferred(joint: Joint) -> None:
    sql = "SELECT * FROM trades WHERE price = $1"
    assert len(joint.engine.parameters(sql, Asker(TRADER))) == 1

    with pytest.raises(RequestError, match="not found"):
        joint.engine.parameters(sql, Asker(STRANGER))


@pytest.mark.parametrize("name", OF_ALL)
def test_system_tables_hold_rows_of_readable_tables_alone(joint: Joint, name: str) -> None:
    sql = f'SELECT DISTINCT "table" FROM system.{name}'

    assert column(joint, sql, TRADER) == column(joint, sql, EVERYBODY)
    assert column(joint, sql, STRANGER) == []


def test_a_receipt_names_readable_tables_alone(joint: Joint) -> None:
    sql = "SELECT * FROM system.cut"

    assert list(json.loads(joint.engine.plan(sql, None, Asker(TRADER)).receipt)["tables"]) == [
        "trades"
    ]
    assert json.loads(joint.engine.plan(sql, None, Asker(STRANGER)).receipt)["tables"] == {}


def test_settings_are_for_administrators(joint: Joint) -> None:
    with pytest.raises(RequestError, match="not found"):
        ask(joint, "SELECT * FROM system.settings", TRADER)

    admin = Identity("root", tables=frozenset(), admin=True)
    assert "port" in column(joint, "SELECT name FROM system.settings", admin)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM information_schema.tables",
        "SELECT DISTINCT table_name FROM information_schema.columns",
        "SHOW TABLES",
    ],
)
def test_information_schema_lists_what_can_be_read(joint: Joint, sql: str) -> None:
    def named(identity: Identity) -> set[str]:
        return set(ask(joint, sql, identity).column("table_name").to_pylist())

    listed, own = named(STRANGER), named(TRADER)

    assert not listed & {*OF_TRADES, "settings"}
    assert own & {*OF_TRADES, *OF_ALL, "settings"} == {*OF_TRADES, *OF_ALL}
    assert listed | set(OF_TRADES) == own


def test_administrators_alone_see_the_settings_of_the_engine(joint: Joint) -> None:
    sql = "SELECT name FROM information_schema.df_settings"

    assert len(column(joint, sql, EVERYBODY)) > 50
    assert column(joint, sql, TRADER) == []
    assert ask(joint, "SHOW ALL", TRADER).num_rows == 0


@pytest.mark.parametrize("name", INFORMATION_TABLES)
def test_information_schema_holds_nothing_of_the_process(joint: Joint, name: str) -> None:
    text = str(ask(joint, f"SELECT * FROM information_schema.{name}", EVERYBODY).to_pylist())

    assert " object at 0x" not in text


def test_metadata_lists_what_can_be_read(joint: Joint) -> None:
    def named(identity: Identity) -> set[str]:
        return {table.name for table in joint.engine.tables(identity)}

    assert named(TRADER) == {*OF_TRADES, *OF_ALL, "queries"}
    assert named(STRANGER) == {*OF_ALL, "queries"}
    assert named(EVERYBODY) == {*OF_TRADES, *OF_ALL, "queries", "settings"}
