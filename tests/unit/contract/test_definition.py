"""Definitions: what is read, and one error message for everything that is refused."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contract
from contract.decode import Decoder
from contract.definition import built_in_definitions, load_definition, parse_definition
from contract.duplicates import DuplicateFilter
from contract.errors import OperatorError
from contract.lanes import lanes_of
from contract.table import PROVENANCE, Lane, TableDefinition
from tests.support.strategies import raw_batch

DOCS = Path(contract.__file__).parents[1] / "docs" / "tables.md"

SMALL = """
name = "small"
topic = "small"
message_id = "id"
event_time = "at"

[[columns]]
name = "id"
type = "string"
required = true

[[columns]]
name = "at"
type = "timestamp"
required = true

[[columns]]
name = "size"
type = "long"

[[columns]]
name = "price"
type = "decimal(38,8)"
"""


def small(more: str = "", *changes: tuple[str, str]) -> TableDefinition:
    text = SMALL + more
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_definition(text, source="small.toml")


def test_the_trades_are_built_in() -> None:
    trades = load_definition("trades")

    assert "trades" in built_in_definitions()
    assert (trades.name, trades.topic, trades.dead_name) == ("trades", "trades", "trades_dead")
    assert (trades.message_id, trades.event_time) == ("message_id", "timestamp")
    assert (trades.duplicate_window_us, trades.duplicate_rows) == (120_000_000, 50_000)
    assert trades.payload_schema.field("price").type == pa.decimal128(18, 8)
    assert not trades.payload_schema.field("price").nullable
    assert trades.payload_schema.field("vendor_data").nullable
    assert tuple(trades.stored_schema.names[-3:]) == PROVENANCE
    assert [rule.lane for rule in trades.lane_rules] == [Lane.LOW, Lane.HIGH, Lane.LOW]
    assert trades.layout.bloom == ("message_id",)


def test_every_built_in_definition_is_valid() -> None:
    for name in built_in_definitions():
        assert load_definition(name).name == name


def test_a_definition_needs_its_columns_only() -> None:
    definition = small()

    assert definition.lane_rules == ()
    assert definition.duplicate_window_us == 120_000_000
    assert definition.duplicate_rows == 200_000
    assert definition.layout.row_group_rows == 131_072
    assert [c.doc for c in definition.columns] == [""] * 4


def test_everything_in_a_definition_is_read() -> None:
    definition = small(
        """
        [[columns]]
        name = "venue"
        type = "string"
        values = ["x", "y"]
        doc = "where"
        [duplicates]
        window_s = 0.5
        remembered_rows = 0
        [[lanes]]
        lane = "LOW"
        column = "venue"
        in = ["x"]
        product = ["price", "size"]
        at_least = 1
        below = "1e3"
        [files]
        row_group_rows = 2_048
        dictionary = ["venue"]
        delta = ["_offset"]
        bloom = ["id"]
        """
    )

    assert (definition.duplicate_window_us, definition.duplicate_rows) == (500_000, 0)
    assert (definition.columns[-1].values, definition.columns[-1].doc) == (("x", "y"), "where")
    (rule,) = definition.lane_rules
    assert (rule.lane, rule.column, rule.one_of) == (Lane.LOW, "venue", ("x",))
    assert rule.product == ("price", "size")
    assert (rule.at_least, rule.below) == (Decimal(1), Decimal(1000))
    assert definition.layout.row_group_rows == 2_048
    assert definition.layout.delta == ("_offset",)


def test_the_rules_digest_changes_with_the_rules_and_with_nothing_else() -> None:
    lane = '[[lanes]]\nlane = "LOW"\nproduct = ["size"]\nbelow = 1\n'
    base = small(lane).rules_digest

    assert small(lane, ('topic = "small"', 'topic = "other"')).rules_digest == base
    assert small(lane + '[files]\nbloom = ["id"]\n').rules_digest == base
    assert small(lane, ("below = 1", "below = 2")).rules_digest != base
    assert small(lane, ("LOW", "HIGH")).rules_digest != base
    assert small(lane + "[duplicates]\nwindow_s = 1\n").rules_digest != base
    assert small(lane + "[duplicates]\nremembered_rows = 1\n").rules_digest != base


LANE = '[[lanes]]\nlane = "LOW"\n'

REFUSED = [
    ((), "x = ", "Invalid"),
    ((('name = "small"', ""),), "", "key 'name' is missing"),
    ((('topic = "small"', ""),), "", "key 'topic' is missing"),
    ((('message_id = "id"', ""),), "", "key 'message_id' is missing"),
    ((('event_time = "at"', ""),), "", "key 'event_time' is missing"),
    ((('name = "small"', 'name = "Small"'),), "", "'Small' is not a name: lower-case letters"),
    ((('name = "small"', 'name = "%s"' % ("x" * 64)),), "", "is not a name: lower-case letters"),
    ((('name = "small"', "name = 5"),), "", "`name` must be a text, not 5"),
    ((('topic = "small"', 'topic = ""'),), "", "'' is not a name of a Kafka topic"),
    ((('topic = "small"', 'topic = "a b"'),), "", "'a b' is not a name of a Kafka topic"),
    (
        (('topic = "small"', 'topik = "x"'),),
        "",
        "unknown key 'topik' in the definition; did you me",
    ),
    (
        (('message_id = "id"', 'message_id = "at"'),),
        "",
        "message_id must name a required column of",
    ),
    ((('message_id = "id"', 'message_id = "x"'),), "", "of type string, not 'x'"),
    (
        (('event_time = "at"', 'event_time = "id"'),),
        "",
        "event_time must name a required column of",
    ),
    (
        (("required = true", "required = false"),),
        "",
        "message_id must name a required column of ty",
    ),
    ((("required = true", 'required = "yes"'),), "", "`required` must be true or false, not 'yes'"),
    ((('name = "size"', ""),), "", "key 'name' is missing"),
    ((('name = "size"', 'name = "_size"'),), "", "'_size' is not a name"),
    ((('name = "size"', 'name = "id"'),), "", "a column is declared twice"),
    ((('type = "long"', ""),), "", "key 'type' is missing"),
    (
        (('type = "long"', 'type = "int"'),),
        "",
        "column 'size': unknown type 'int'; known are string,",
    ),
    ((('type = "long"', 'type = "decimal(39,0)"'),), "", "decimal(39,0) is not a decimal type"),
    ((('type = "long"', 'type = "decimal(0,0)"'),), "", "decimal(0,0) is not a decimal type"),
    ((('type = "long"', 'type = "decimal(3,4)"'),), "", "decimal(3,4) is not a decimal type"),
    ((('type = "long"', 'type = "long"\nvalues = ["1"]'),), "", "`values` is for string columns"),
    ((('type = "long"', 'type = "string"\nvalues = "1"'),), "", "`values` must be a list of texts"),
    ((('type = "long"', 'type = "long"\nunit = "x"'),), "", "unknown key 'unit' in [[columns]]"),
    ((('type = "long"', 'type = "long"\ndoc = 1'),), "", "`doc` must be a text, not 1"),
    (
        (),
        "[duplicates]\nwindow = 1",
        "unknown key 'window' in [duplicates]; did you mean 'window_s'?",
    ),
    ((), "[duplicates]\nwindow_s = -1", "window_s must lie between 0 and 31,622,400"),
    ((), "[duplicates]\nwindow_s = 1e15", "window_s must lie between 0 and 31,622,400"),
    ((), "[duplicates]\nwindow_s = inf", "`window_s` must be a number"),
    ((), '[duplicates]\nwindow_s = "1e999999999"', "`window_s` must be a number"),
    ((), "[duplicates]\nwindow_s = true", "`window_s` must be a number"),
    ((), "[duplicates]\nwindow_s = []", "`window_s` must be a number"),
    ((), "[duplicates]\nremembered_rows = -1", "remembered_rows must lie between 0 and 10,000,000"),
    (
        (),
        "[duplicates]\nremembered_rows = 1.5",
        "`remembered_rows` must be a whole number, not 1.5",
    ),
    ((), "[duplicates]\nremembered_rows = true", "`remembered_rows` must be a whole number"),
    ((), "[[duplicates]]\nwindow_s = 1", "`duplicates` must be a table: write [duplicates]"),
    ((), '[lanes]\nlane = "LOW"', "`lanes` must be a list of tables: write [[lanes]]"),
    ((), "[[lanes]]\nbelow = 1", "key 'lane' is missing"),
    ((), '[[lanes]]\nlane = "low"', "lane 'low' is not one of HIGH, MEDIUM, LOW"),
    ((), "[[lanes]]\nlane = 1", "`lane` must be a text, not 1"),
    ((), LANE, "a lane rule needs `column` with `in`, or `product` with a bound"),
    ((), LANE + 'column = "id"', "a lane rule needs `column` with `in`"),
    ((), LANE + 'in = ["x"]', "a lane rule needs `column` with `in`"),
    ((), LANE + "below = 1", "a lane rule needs `column` with `in`"),
    ((), LANE + 'product = ["size"]', "or `product` with a bound"),
    ((), LANE + 'column = "id"\nin = ["x"]\nbelow = 1', "or `product` with a bound"),
    (
        (),
        LANE + 'product = ["size"]\nbelow = 1\nin = ["x"]',
        "a lane rule needs `column` with `in`",
    ),
    ((), LANE + 'column = "id"\nin = "x"', "`in` must be a list of texts, not 'x'"),
    ((), LANE + 'column = "id"\nin = [1]', "`in` must be a list of texts, not [1]"),
    ((), LANE + 'column = "idd"\nin = ["x"]', "a lane rule names the unknown column 'idd'"),
    ((), LANE + 'column = "size"\nin = ["x"]', "lane rule on 'size': it must be a string column"),
    ((), LANE + 'product = ["sizes"]\nbelow = 1', "a lane rule names the unknown column 'sizes'"),
    (
        (),
        LANE + 'product = ["at"]\nbelow = 1',
        "column 'at' is not a number that multiplies exactly",
    ),
    ((), LANE + 'product = ["size"]\nbelow = "x"', "`below` must be a number, or one as text, not"),
    ((), LANE + 'product = ["size"]\nbelow = nan', "`below` must be a number, or one as text, not"),
    (
        (),
        LANE + 'product = ["size"]\nbelow = 0.5',
        "the product, decimal128(19, 0), cannot hold 0.5",
    ),
    ((), LANE + 'product = ["price", "price"]\nbelow = 1', "a product of 77 digits, more than 76"),
    ((), LANE + 'product = ["size"]\nbelow = 1\nabove = 1', "unknown key 'above' in [[lanes]]"),
    ((), "files = 5", "unknown key 'files' in [[columns]]"),
    ((), "[[files]]", "`files` must be a table: write [files]"),
    ((), '[files]\nbloom = ["idd"]', "[files] names the unknown column 'idd'"),
    ((), '[files]\nbloom = "id"', "`bloom` must be a list of texts, not 'id'"),
    ((), "[files]\nrow_group_rows = 1_000", "row_group_rows must lie between 1,024 and 16,777,216"),
    (
        (),
        "[files]\nrow_groups = 1",
        "unknown key 'row_groups' in [files]; did you mean 'row_group_row",
    ),
]


@pytest.mark.parametrize(("changes", "more", "message"), REFUSED)
def test_a_wrong_definition_is_refused_by_the_name_of_the_key(
    changes: tuple[tuple[str, str], ...], more: str, message: str
) -> None:
    with pytest.raises(OperatorError, match=re.escape(message)) as caught:
        small(more, *changes)

    assert str(caught.value).startswith("table definition 'small.toml': ")


@pytest.mark.parametrize("columns", ["", "columns = []"])
def test_a_definition_without_columns_is_refused(columns: str) -> None:
    with pytest.raises(OperatorError, match="key 'columns' is missing"):
        parse_definition(f'name = "x"\n{columns}', "x.toml")


@pytest.mark.parametrize("columns", ["5", '"id"', '["id"]', "{id = {}}"])
def test_columns_that_are_no_list_of_tables_are_refused(columns: str) -> None:
    with pytest.raises(OperatorError, match=re.escape("write [[columns]]")):
        parse_definition(f"columns = {columns}", "x.toml")


_values = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "LOW", "id", "long"]),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.sampled_from(SMALL.splitlines()), _values)
def test_any_value_in_any_place_gives_a_definition_or_an_error_for_the_operator(
    line: str, value: object
) -> None:
    key = line.partition(" = ")[0]
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    text = text.replace("True", "true").replace("False", "false")

    with contextlib.suppress(OperatorError):
        small("", (line, f"{key} = {text}" if "=" in line else line))


# --- files ----------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(OperatorError, match="no table definition 'tradez': neither a file nor one"):
        load_definition("tradez")


def test_a_file_that_is_no_text_is_refused_without_its_path(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(
        OperatorError, match=r"'bad.toml' cannot be read: it is not UTF-8"
    ) as caught:
        load_definition(str(path))

    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "quotes.toml"
    path.write_text(SMALL, encoding="utf-8")

    def refuse(*args: object, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)

    with pytest.raises(OperatorError, match=r"'quotes.toml' cannot be read: Permission denied"):
        load_definition(str(path))


# --- a second table: a definition, no code ------------------------------------------------------


def documented(language: str, number: int = 0) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return str(blocks[number])


def test_the_quotes_of_the_documentation_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "quotes.toml"
    path.write_text(documented("toml"), encoding="utf-8")
    messages: list[bytes | None] = [*documented("json").strip().encode().splitlines()]
    quotes = load_definition(str(path))

    decoded = Decoder(quotes).decode(raw_batch([*messages, b'{"quote_id":"x"}']))
    lanes = lanes_of(quotes, decoded.rows)
    kept = DuplicateFilter(quotes).keep(decoded.rows, lanes)

    assert decoded.rows.schema.equals(quotes.stored_schema)
    assert decoded.rows.column("quote_id").to_pylist() == ["q-1", "q-2", "q-2"]
    assert decoded.rows.column("bid").to_pylist()[0] == Decimal("39431.5")
    assert decoded.rejects.column("reason").to_pylist() == ["field 'symbol': missing"]
    assert lanes.tolist() == [Lane.HIGH, Lane.LOW, Lane.LOW]
    assert kept.tolist() == [True, True, False]


def test_the_documentation_names_every_key_of_a_definition() -> None:
    text = DOCS.read_text(encoding="utf-8")
    keys = set(re.findall(r"^\s*([a-z_]+) = ", documented("toml"), re.MULTILINE))

    assert keys >= {"name", "topic", "message_id", "event_time", "window_s", "remembered_rows"}
    for key in (*keys, "required", "values", "doc", "at_least", "below", "product", "in", "column"):
        assert f"`{key}`" in text
