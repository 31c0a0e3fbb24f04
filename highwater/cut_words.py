"""The cut that `highwater sql` asks for: from a file, from standard input or as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import RequestError
from flight_server.cut.request import AT_LEAST, EXACTLY, POLICY, WAIT_S, Policy, cut_request

if TYPE_CHECKING:
    from highwater.sql import SqlSettings

STANDARD_INPUT = "-"


def cut_words(settings: SqlSettings) -> dict[str, str]:
    """The words that name the cut; none if the newest one is wanted. Raises RequestError."""
    if settings.at and settings.at_least:
        raise RequestError("--at and --at-least exclude each other: give one of them")
    if not settings.at and not settings.at_least:
        return {}
    words = {WAIT_S: str(settings.wait_s), POLICY: settings.policy}
    if settings.at:
        words[EXACTLY] = _text("--at", settings.at)
        if settings.policy == Policy.STALE:
            raise RequestError("--policy stale fits --at-least only: a cut is exact or it is not")
    else:
        words[AT_LEAST] = _text("--at-least", settings.at_least)
    cut_request(words)
    return words


def _text(flag: str, value: str) -> str:
    """What stands in the file of that name, or the value itself where it is no file's name."""
    if value == STANDARD_INPUT:
        return sys.stdin.read().strip()
    if value.lstrip().startswith("{"):
        return value
    path = Path(value)
    try:
        if path.is_file():
            return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{flag} {value}: it cannot be read ({type(error).__name__})") from error
    if flag == "--at":
        raise RequestError(f"{flag} {value}: there is no such file, and it is no receipt")
    return value
