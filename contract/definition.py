"""Read a table definition from TOML, strictly: what is unknown or contradictory is refused."""

from __future__ import annotations

import difflib
import re
import tomllib
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from contract.errors import OperatorError
from contract.table import (
    PROVENANCE,
    TIMESTAMP_TYPE,
    Column,
    FileLayout,
    Lane,
    LaneRule,
    TableDefinition,
)

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

_TOP = {"name", "topic", "message_id", "event_time", "duplicates", "columns", "lanes", "files"}
_DUPLICATES = {"window_s", "remembered_rows"}
_COLUMN = {"name", "type", "required", "values", "doc"}
_LANE = {"lane", "column", "in", "product", "at_least", "below"}
_FILES = {"row_group_rows", "dictionary", "delta", "bloom"}


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
        text = Path(name_or_path).read_text()
    else:
        known = ", ".join(built_in_definitions())
        raise OperatorError(
            f"no table definition {name_or_path!r}: neither a file nor one of {known}"
        )
    return parse_definition(text, source=name_or_path)


def parse_definition(text: str, source: str) -> TableDefinition:
    """The definition in this TOML text; `source` names it in errors."""
    try:
        return _definition(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, InvalidOperation) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise OperatorError(f"table definition {source!r}: {what}") from error


def _definition(raw: dict[str, Any]) -> TableDefinition:
    _only(raw, _TOP, "the definition")
    columns = tuple(_column(c) for c in raw["columns"])
    duplicates = raw.get("duplicates", {})
    _only(duplicates, _DUPLICATES, "[duplicates]")
    definition = TableDefinition(
        name=_identifier(raw["name"]),
        topic=str(raw["topic"]),
        columns=columns,
        message_id=raw["message_id"],
        event_time=raw["event_time"],
        duplicate_window_us=int(Decimal(str(duplicates.get("window_s", 120))) * 1_000_000),
        duplicate_rows=int(duplicates.get("remembered_rows", 200_000)),
        lane_rules=tuple(_lane_rule(r, columns) for r in raw.get("lanes", [])),
        layout=_layout(raw.get("files", {}), columns),
    )
    _check(definition)
    return definition


def _column(raw: dict[str, Any]) -> Column:
    _only(raw, _COLUMN, "[[columns]]")
    name = _identifier(raw["name"])
    column = Column(
        name=name,
        type=_type(raw["type"], name),
        required=bool(raw.get("required", False)),
        values=tuple(raw.get("values", ())),
        doc=raw.get("doc", ""),
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
    if raw["lane"] not in Lane.__members__:
        raise ValueError(f"lane {raw['lane']!r} is not one of {', '.join(Lane.__members__)}")
    rule = LaneRule(
        lane=Lane[raw["lane"]],
        column=raw.get("column"),
        one_of=tuple(raw.get("in", ())),
        product=tuple(raw.get("product", ())),
        at_least=Decimal(raw["at_least"]) if "at_least" in raw else None,
        below=Decimal(raw["below"]) if "below" in raw else None,
    )
    types = {c.name: c.type for c in columns}
    used = ([rule.column] if rule.column else []) + list(rule.product)
    if not used:
        raise ValueError("a lane rule needs `column` and `in`, or `product` and a bound")
    if unknown := [c for c in used if c not in types]:
        raise ValueError(f"a lane rule names the unknown column {unknown[0]!r}")
    if rule.column is not None and (types[rule.column] != pa.string() or not rule.one_of):
        raise ValueError(f"lane rule on {rule.column!r}: a string column and a list `in` is needed")
    if rule.product and rule.at_least is None and rule.below is None:
        raise ValueError("a lane rule with `product` needs `at_least` or `below`")
    for name in rule.product:
        if not (pa.types.is_decimal(types[name]) or pa.types.is_integer(types[name])):
            raise ValueError(f"lane rule: column {name!r} is not a number that multiplies exactly")
    return rule


def _layout(raw: dict[str, Any], columns: tuple[Column, ...]) -> FileLayout:
    _only(raw, _FILES, "[files]")
    layout = FileLayout(
        row_group_rows=int(raw.get("row_group_rows", 131_072)),
        dictionary=tuple(raw.get("dictionary", ())),
        delta=tuple(raw.get("delta", ())),
        bloom=tuple(raw.get("bloom", ())),
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
    if not definition.topic:
        raise ValueError("topic is empty")
    if definition.duplicate_window_us < 0 or not 0 <= definition.duplicate_rows <= 10_000_000:
        raise ValueError("[duplicates] window_s >= 0 and 0 <= remembered_rows <= 10,000,000")


def _identifier(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a name: lower-case letters, digits and _ after a letter, 63 at most"
        )
    return text


def _only(raw: dict[str, Any], known: set[str], where: str) -> None:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {key!r} in {where}{hint}")
