"""What a client can set for its session: one table of options, and their values as one value.

A new option is one entry in `OPTIONS`.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from contract.errors import RequestError
from flight_server.cut.request import WORDS, check_word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CATALOG_NAME = "highwater"
SCHEMA_NAMES = ("public", "system", "information_schema")  # the first is the default
CATALOG, SCHEMA, TIME_ZONE = "catalog", "schema", "highwater.time_zone"
TIMESTAMPS, ZONED, UTC = "highwater.timestamps", "zoned", "utc"

_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")

OptionValue = str | bool | int | float | tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """How one option is understood.

    `parse` gives the value that the server works with, or raises RequestError. `default` is in
    force, and shown to clients, where a session sets nothing; None: nothing is.
    """

    parse: Callable[[OptionValue], Any]
    default: OptionValue | None = None


def _one_of(*names: str) -> Callable[[OptionValue], str]:
    def parse(value: OptionValue) -> str:
        if value not in names:
            raise RequestError(f"{value!r} is none of {', '.join(names)}")
        return str(value)

    return parse


def _time_zone(value: OptionValue) -> str:
    """A name of the IANA database, as it is spelled there, or an offset such as +02:00."""
    if isinstance(value, str) and (_OFFSET.fullmatch(value) or value in _zones()):
        return value
    raise RequestError(f"{value!r} is no time zone: give a name such as Europe/Berlin, or +02:00")


def _zones() -> set[str]:
    return zoneinfo.available_timezones() - {"Factory"}  # which is there to be replaced


def _cut(word: str) -> Callable[[OptionValue], str]:
    """A word that says which cut statements read; what it means is found out for each of them."""

    def parse(value: OptionValue) -> str:
        if isinstance(value, (bool, tuple)):
            raise RequestError(f"{word} is given as text")
        check_word(word, str(value))
        return str(value)

    return parse


# Option -> the word for it that headers and comments have as well.
CUT_OPTIONS: Mapping[str, str] = {f"highwater.{word}": word for word in WORDS}

OPTIONS: Mapping[str, Option] = {
    CATALOG: Option(_one_of(CATALOG_NAME), CATALOG_NAME),
    SCHEMA: Option(_one_of(*SCHEMA_NAMES), SCHEMA_NAMES[0]),
    TIME_ZONE: Option(_time_zone),
    **{option: Option(_cut(word)) for option, word in CUT_OPTIONS.items()},
    # `utc`: without a time zone, for clients that cannot read one (the JDBC driver 18.3.0)
    TIMESTAMPS: Option(_one_of(ZONED, UTC), ZONED),
}


@dataclass(frozen=True)
class SessionOptions:
    """The options of one session: what the client gave, and what it means."""

    given: Mapping[str, OptionValue] = field(default_factory=lambda: MappingProxyType({}))
    _parsed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __getitem__(self, name: str) -> Any:
        """The value in force of an option of `OPTIONS`; None if there is none."""
        return self._parsed.get(name, OPTIONS[name].default)

    def shown(self) -> dict[str, OptionValue]:
        """What a client is told: the defaults, and over them what it gave."""
        defaults = {n: o.default for n, o in OPTIONS.items() if o.default is not None}
        return defaults | dict(self.given)

    def changed(
        self, changes: Mapping[str, OptionValue | None]
    ) -> tuple[SessionOptions, Mapping[str, RequestError | None]]:
        """With `changes` applied, of which None unsets an option, and those that were refused.

        A refused option keeps its value. Its reason is None where the name is unknown.
        """
        given, parsed = dict(self.given), dict(self._parsed)
        refused: dict[str, RequestError | None] = {}
        for name, value in changes.items():
            if name not in OPTIONS:
                refused[name] = None
            elif value is None:
                given.pop(name, None)
                parsed.pop(name, None)
            else:
                try:
                    parsed[name], given[name] = OPTIONS[name].parse(value), value
                except RequestError as error:
                    refused[name] = error
        return SessionOptions(MappingProxyType(given), MappingProxyType(parsed)), refused


DEFAULTS = SessionOptions()
