"""One setting: its description, and its value read from text or TOML, checked by name."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import RequestError

PREFIX = "HIGHWATER_"
_KINDS = {str: "text", int: "integer", float: "number", bool: "yes/no", Path: "path"}
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """One setting of one command: what `--help` and docs/settings.md show."""

    name: str
    kind: Any  # str, int, float, bool, Path, tuple or Mapping
    optional: bool
    default: object
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    positional: bool
    secret: bool
    default_doc: str
    common: bool

    @property
    def flag(self) -> str:
        """How it is spelled on the command line."""
        return self.name.upper() if self.positional else "--" + self.name.replace("_", "-")

    def env(self, command: str) -> str:
        """The environment variable that this setting is documented with."""
        return PREFIX + ("" if self.common else env_part(command)) + self.name.upper()

    @property
    def kind_name(self) -> str:
        """Its type in words."""
        return _KINDS.get(self.kind, "list" if self.kind is tuple else "table")

    @property
    def default_text(self) -> str:
        """Its default in words; `-` for nothing."""
        return self.default_doc or as_text(self.default)

    @property
    def range_text(self) -> str:
        """The values that it takes, in words; empty if its type alone decides."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"at least {self.minimum}"
        return "" if self.maximum is None else f"at most {self.maximum}"


def convert(item: Setting, value: object, where: str) -> object:
    """The typed value of a setting given as text or TOML; RequestError names `where` it stood."""
    try:
        made = _typed(item, value, where)
    except RequestError:
        if not item.secret:
            raise
        raise RequestError(f"{where}: not of type {item.kind_name}; it is a secret") from None
    if isinstance(made, (int, float)) and not isinstance(made, bool):
        unit = f" {item.unit}" if item.unit else ""
        if item.minimum is not None and not made >= item.minimum:  # refuses nan as well
            raise RequestError(f"{where}: {made}{unit} is below the minimum {item.minimum}{unit}")
        if item.maximum is not None and not made <= item.maximum:
            raise RequestError(f"{where}: {made}{unit} is above the maximum {item.maximum}{unit}")
    for part in made if isinstance(made, tuple) else (made,):
        if item.choices and part not in item.choices:
            raise RequestError(f"{where}: {part!r} is none of {', '.join(item.choices)}")
    return made


def kind_of(hint: Any) -> tuple[Any, bool]:
    """The bare type of an annotation, and whether None is allowed."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        inner = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return kind_of(inner[0])[0], True
    return typing.get_origin(hint) or hint, False


def as_text(value: object) -> str:
    """A value as people write it; `-` for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={entry}" for key, entry in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)


def _typed(item: Setting, value: object, where: str) -> object:
    if item.kind is Mapping:
        return _table(value, where)
    if item.kind is tuple:
        return _strings(value, where)
    try:
        if isinstance(value, str):
            return _BOOLEANS[value.lower()] if item.kind is bool else item.kind(value)
        if item.kind is float and type(value) is int:
            return float(value)
    except (ValueError, KeyError):
        pass
    if type(value) is item.kind:  # exactly: in TOML, true is not 1
        return value
    raise RequestError(f"{where}: {value!r} is not of type {item.kind_name}")


def _strings(value: object, where: str) -> tuple[str, ...]:
    """From a TOML list, a repeated flag, or one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise RequestError(f"{where}: {value!r} is not a list of texts")
    return tuple(piece.strip() for part in parts for piece in part.split(",") if piece.strip())


def _table(value: object, where: str) -> dict[str, str]:
    """From a TOML table, a repeated flag KEY=VALUE, or one text KEY=VALUE,KEY=VALUE."""
    if isinstance(value, dict):
        return {str(key): str(entry) for key, entry in value.items()}
    pieces = value.split(",") if isinstance(value, str) else value
    made: dict[str, str] = {}
    for piece in pieces if isinstance(pieces, list) else [""]:
        key, equals, entry = str(piece).partition("=")
        if not key.strip() or not equals:
            raise RequestError(f"{where}: {piece!r} is not KEY=VALUE")
        made[key.strip()] = entry.strip()
    return made


def env_part(command: str) -> str:
    """What a command's variables have between the prefix and the name: `FEED_REPLAY_`."""
    return command.replace(" ", "_").upper() + "_"
