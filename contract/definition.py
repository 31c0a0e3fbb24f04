"""Read a table definition from TOML, strictly: what is unknown or contradictory is refused."""

from __future__ import annotations

import difflib
import re
import tomllib
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from contract.errors import OperatorError
from contract.lanes import product_type
from contract.table import (
    PROVENANCE,
    TIMESTAMP_TYPE,
    Column,
    FileLayout,
    Lane,
    LaneRule,
    TableDefinition,
)

_T = TypeVar("_T")

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": TIMESTAMP_TYPE,
    "list<string>": pa.list_(pa.string()),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")

_TOP = {"name", "topic", "message_id", "event_time", "duplicates", "columns", "lanes", "files"}
_DUPLICATES = {"window_s", "remembered_rows"}
_COLUMN = {"name", "type", "required", "values", "doc"}
_LANE = {"lane", "column", "in", "product", "at_least", "below"}
_FILES = {"row_group_rows", "dictionary", "delta", "bloom"}

_WINDOW_MAX_S = 366 * 24 * 60 * 60
_REMEMBERED_ROWS_MAX = 10_000_000
_EXPONENT_MAX = 100  # of a number in a definition: more is a slip of the pen


def built_in_definitions() -> list[str]:
    """Names of the definitions that are shipped."""
    folder = resources.files("contract") / "tables"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def load_definition(name_or_path: str) -> TableDefinition:
    """The definition of that built-in name, or in that TOML file.

    Raises:
        OperatorError: there is none, or it is not a valid definition; the text names the key.
    """
    if name_or_path in built_in_definitions():
        text = (resources.files("contract") / "tables" / f"{name_or_path}.toml").read_text()
    elif Path(name_or_path).is_file():
        text = _read(Path(name_or_path))
    else:
        known = ", ".join(built_in_definitions())
        raise OperatorError(
            f"no table definition {name_or_path!r}: neither a file nor one of {known}"
        )
    return parse_definition(text, source=name_or_path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise OperatorError(f"table definition {path.name!r} cannot be read: {why}") from error


def parse_definition(text: str, source: str) -> TableDefinition:
    """The definition in this TOML text; `source` names it in errors."""
    try:
        return _definition(tomllib.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise OperatorError(f"table definition {source!r}: {what}") from error


def _definition(raw: dict[str, Any]) -> TableDefinition:
    _only(raw, _TOP, "the definition")
    columns = tuple(_column(c) for c in _tables(raw, "columns"))
    if not columns:
        raise KeyError("columns")
    duplicates = _table(raw, "duplicates")
    _only(duplicates, _DUPLICATES, "[duplicates]")
    definition = TableDefinition(
        name=_identifier(_get(raw, "name", str)),
        topic=_get(raw, "topic", str),
        columns=columns,
        message_id=_get(raw, "message_id", str),
        event_time=_get(raw, "event_time", str),
        duplicate_window_us=int(_number(duplicates, "window_s", 120) * 1_000_000),
        duplicate_rows=_get(duplicates, "remembered_rows", int, 200_000),
        lane_rules=tuple(_lane_rule(r, columns) for r in _tables(raw, "lanes")),
        layout=_layout(_table(raw, "files"), columns),
    )
    _check(definition)
    return definition


def _column(raw: dict[str, Any]) -> Column:
    _only(raw, _COLUMN, "[[columns]]")
    name = _identifier(_get(raw, "name", str))
    column = Column(
        name=name,
        type=_type(_get(raw, "type", str), name),
        required=_get(raw, "required", bool, False),
        values=_texts(raw, "values"),
        doc=_get(raw, "doc", str, ""),
    )
    if column.values and column.type != pa.string():
        raise ValueError(f"column {name!r}: `values` is for string columns")
    return column


def _type(text: str, column: str) -> pa.DataType:
    if match := _DECIMAL.fullmatch(text):
        precision, scale = int(match[1]), int(match[2])
        if not 1 <= precision <= 38 or scale > precision:
            raise ValueError(f"column {column!r}: {text} is not a decimal type")
        return pa.decimal128(precision, scale)
    if text not in _TYPES:
        known = ", ".join([*_TYPES, "decimal(p,s)"])
        raise ValueError(f"column {column!r}: unknown type {text!r}; known are {known}")
    return _TYPES[text]


def _lane_rule(raw: dict[str, Any], columns: tuple[Column, ...]) -> LaneRule:
    _only(raw, _LANE, "[[lanes]]")
    lane = _get(raw, "lane", str)
    if lane not in Lane.__members__:
        raise ValueError(f"lane {lane!r} is not one of {', '.join(Lane.__members__)}")
    rule = LaneRule(
        lane=Lane[lane],
        column=_get(raw, "column", str) if "column" in raw else None,
        one_of=_texts(raw, "in"),
        product=_texts(raw, "product"),
        at_least=_number(raw, "at_least") if "at_least" in raw else None,
        below=_number(raw, "below") if "below" in raw else None,
    )
    bounds = [b for b in (rule.at_least, rule.below) if b is not None]
    has_column, has_product = rule.column is not None, bool(rule.product)
    complete = has_column == bool(rule.one_of) and has_product == bool(bounds)
    if not complete or not (has_column or has_product):
        raise ValueError("a lane rule needs `column` with `in`, or `product` with a bound")
    _check_lane_types(rule, {c.name: c.type for c in columns}, bounds)
    return rule


def _check_lane_types(
    rule: LaneRule, types: Mapping[str, pa.DataType], bounds: list[Decimal]
) -> None:
    used = [*rule.product] if rule.column is None else [rule.column, *rule.product]
    if unknown := [c for c in used if c not in types]:
        raise ValueError(f"a lane rule names the unknown column {unknown[0]!r}")
    if rule.column is not None and types[rule.column] != pa.string():
        raise ValueError(f"lane rule on {rule.column!r}: it must be a string column")
    for name in rule.product:
        if not (pa.types.is_decimal(types[name]) or pa.types.is_integer(types[name])):
            raise ValueError(f"lane rule: column {name!r} is not a number that multiplies exactly")
    for bound in bounds:
        product = product_type([types[name] for name in rule.product])
        try:
            pa.scalar(bound, product)
        except pa.ArrowInvalid as error:
            raise ValueError(f"lane rule: the product, {product}, cannot hold {bound}") from error


def _layout(raw: dict[str, Any], columns: tuple[Column, ...]) -> FileLayout:
    _only(raw, _FILES, "[files]")
    layout = FileLayout(
        row_group_rows=_get(raw, "row_group_rows", int, 131_072),
        dictionary=_texts(raw, "dictionary"),
        delta=_texts(raw, "delta"),
        bloom=_texts(raw, "bloom"),
    )
    known = {c.name for c in columns} | set(PROVENANCE)
    for name in (*layout.dictionary, *layout.delta, *layout.bloom):
        if name not in known:
            raise ValueError(f"[files] names the unknown column {name!r}")
    if not 1_024 <= layout.row_group_rows <= 16_777_216:
        raise ValueError("[files] row_group_rows must lie between 1,024 and 16,777,216")
    return layout


def _check(definition: TableDefinition) -> None:
    names = [c.name for c in definition.columns]
    if len(set(names)) != len(names):
        raise ValueError("a column is declared twice")
    by_name = {c.name: c for c in definition.columns}
    for role, name, wanted in (
        ("message_id", definition.message_id, pa.string()),
        ("event_time", definition.event_time, TIMESTAMP_TYPE),
    ):
        column = by_name.get(name)
        if column is None or column.type != wanted or not column.required:
            raise ValueError(f"{role} must name a required column of type {wanted}, not {name!r}")
    if not _TOPIC.fullmatch(definition.topic):
        raise ValueError(f"{definition.topic!r} is not a name of a Kafka topic")
    if not 0 <= definition.duplicate_window_us <= _WINDOW_MAX_S * 1_000_000:
        raise ValueError(f"[duplicates] window_s must lie between 0 and {_WINDOW_MAX_S:,}")
    if not 0 <= definition.duplicate_rows <= _REMEMBERED_ROWS_MAX:
        raise ValueError(
            f"[duplicates] remembered_rows must lie between 0 and {_REMEMBERED_ROWS_MAX:,}"
        )


def _identifier(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a name: lower-case letters, digits and _ after a letter, 63 at most"
        )
    return text


_WORDS = {str: "a text", int: "a whole number", bool: "true or false"}


def _get(raw: Mapping[str, Any], key: str, wanted: type[_T], default: _T | None = None) -> _T:
    value = raw.get(key, default)
    if value is None:
        raise KeyError(key)
    if type(value) is not wanted:
        raise TypeError(f"`{key}` must be {_WORDS[wanted]}, not {value!r}")
    return value


def _texts(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = raw.get(key, [])
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"`{key}` must be a list of texts, not {values!r}")
    return tuple(values)


def _number(raw: Mapping[str, Any], key: str, default: int | None = None) -> Decimal:
    value = raw.get(key, default)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if isinstance(value, bool) or not number.is_finite() or abs(number.adjusted()) > _EXPONENT_MAX:
        raise ValueError(f"`{key}` must be a number, or one as text, not {value!r}")
    return number


def _table(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise TypeError(f"`{key}` must be a table: write [{key}]")
    return value


def _tables(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    values = raw.get(key, [])
    if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
        raise TypeError(f"`{key}` must be a list of tables: write [[{key}]]")
    return values


def _only(raw: dict[str, Any], known: set[str], where: str) -> None:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {key!r} in {where}{hint}")
