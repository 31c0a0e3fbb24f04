"""Which cut a client asks for, as values, and the texts in which it says so.

Three ways lead here: session options, call headers, and a comment at the head of a statement. All
of them have the same four words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contract.errors import RequestError
from contract.table import LANES
from flight_server.cut.receipt import RECEIPT_BYTES_MAX, read_offsets, read_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.marker import NextOffsets
    from flight_server.cut.receipt import TableCut

AT_LEAST = "at_least"
EXACTLY = "exactly"
WAIT_S = "wait_s"
POLICY = "policy"
WORDS = (AT_LEAST, EXACTLY, WAIT_S, POLICY)

WAIT_DEFAULT_S = 5.0
WAIT_MAX_S = 60.0

_HINT = re.compile(r"\s*/\*\+\s*highwater\b(.*?)\*/", re.DOTALL | re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds of the years 1975 to 2262. Milliseconds and seconds of today lie below.
_TIME_RANGE_US = (157_766_400_000_000, 9_223_372_036_854_775)


class Policy(StrEnum):
    """What happens where the wanted cut is not there yet."""

    WAIT = "wait"  # until it is, or the time is over: then the statement fails
    FAIL = "fail"  # at once
    STALE = "stale"  # as WAIT, but then the answer is what there is, and its receipt says so


@dataclass(frozen=True, slots=True)
class Wanted:
    """How far one table must reach; `topic_id`: of the log that the offsets belong to, if known."""

    next: NextOffsets
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class CutRequest:
    """What a statement's cut must be. Empty: whatever there is.

    `at_least`: by name of the table or topic. `at_least_us`: broker time that all tables must have
    reached. `exactly`: by name of the table.
    """

    at_least: Mapping[str, Wanted] = field(default_factory=dict)
    at_least_us: int | None = None
    exactly: Mapping[str, TableCut] | None = None
    wait_s: float = WAIT_DEFAULT_S
    policy: Policy = Policy.WAIT


def cut_request(words: Mapping[str, str]) -> CutRequest | None:
    """The request that these words make; None if they name no cut.

    Raises:
        RequestError: a value cannot be read, or both forms were given.
    """
    at_least, exactly = words.get(AT_LEAST), words.get(EXACTLY)
    if not at_least and not exactly:
        return None
    if at_least and exactly:
        raise RequestError(f"{AT_LEAST} and {EXACTLY} exclude each other: give one of them")
    wait_s, policy = read_wait_s(words.get(WAIT_S) or ""), read_policy(words.get(POLICY) or "")
    if exactly:
        if policy is Policy.STALE:
            raise RequestError(f"policy {policy} fits {AT_LEAST} only: a cut is exact or it is not")
        return CutRequest(exactly=read_exactly(exactly), wait_s=wait_s, policy=policy)
    wanted, time_us = read_at_least(at_least or "")
    return CutRequest(wanted, time_us, wait_s=wait_s, policy=policy)


def check_word(word: str, text: str) -> None:
    """Raise RequestError if the value of one of `WORDS` cannot be read. Empty: nothing is asked."""
    if not text:
        return
    readers: Mapping[str, Callable[[str], object]] = {
        AT_LEAST: read_at_least,
        EXACTLY: read_exactly,
        WAIT_S: read_wait_s,
        POLICY: read_policy,
    }
    readers[word](text)


def read_exactly(text: str) -> Mapping[str, TableCut]:
    """The tables of a receipt. Raises RequestError."""
    return read_tables(_json(text, EXACTLY))


def read_at_least(text: str) -> tuple[Mapping[str, Wanted], int | None]:
    """Offsets by table or topic, or a broker time in microseconds since the epoch.

    Raises:
        RequestError: it is neither a receipt, nor offsets of messages, nor a time.
    """
    text = text.strip()
    if not text.startswith("{"):
        return {}, _time_us(text)
    parsed = _json(text, AT_LEAST)
    assert isinstance(parsed, Mapping), "a text in braces is an object"
    if "tables" in parsed:
        return {n: Wanted(t.cut, t.topic_id) for n, t in read_tables(parsed).items()}, None
    found = {}
    for name, by_partition in parsed.items():
        offsets = read_offsets(by_partition, f"{AT_LEAST} of {name[:64]!r}")
        # Offsets of messages that must be in the answer: the cut lies behind them.
        found[name] = Wanted({p: (o + 1,) * len(LANES) for p, o in offsets.items()})
    return found, None


def read_wait_s(text: str) -> float:
    """Longest wait in seconds; the default for an empty text. Raises RequestError."""
    try:
        wait_s = float(text) if text else WAIT_DEFAULT_S
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= WAIT_MAX_S:
        raise RequestError(f"{WAIT_S} must be a number of seconds from 0 to {WAIT_MAX_S:g}")
    return wait_s


def read_policy(text: str) -> Policy:
    """The policy of that name; the default for an empty text. Raises RequestError."""
    try:
        return Policy(text.strip().lower() or Policy.WAIT)
    except ValueError:
        known = ", ".join(Policy)
        raise RequestError(f"{POLICY} must be one of {known}") from None


def take_hint(sql: str) -> tuple[str, Mapping[str, str]]:
    """A statement without the comment at its head that names a cut, and the words in it.

    The comment is `/*+ highwater {"at_least": …, "wait_s": 2} */`; values may be texts or JSON.

    Raises:
        RequestError: the comment cannot be read, or has a word that is not known.
    """
    found = _HINT.match(sql)
    if found is None:
        return sql, {}
    parsed = _json(found[1].strip(), "the comment /*+ highwater … */")
    if not isinstance(parsed, Mapping):
        raise RequestError("the comment /*+ highwater … */ must hold a JSON object")
    if unknown := sorted(parsed.keys() - set(WORDS)):
        raise RequestError(
            f"the comment /*+ highwater … */ has {unknown[0][:64]!r}; known are {', '.join(WORDS)}"
        )
    words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in parsed.items()}
    return sql[found.end() :], words


def with_hint(sql: str, words: Mapping[str, str]) -> str:
    """The statement with these words in a comment at its head; without words, as it is."""
    if not words:
        return sql
    # A JSON text may write a slash as \/, and then no value can end the comment.
    text = json.dumps(dict(words)).replace("/", "\\/")
    return f"/*+ highwater {text} */ {sql}"


def _json(text: str, what: str) -> object:
    if len(text.encode()) > RECEIPT_BYTES_MAX:
        raise RequestError(f"{what} is longer than {RECEIPT_BYTES_MAX} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(f"{what} is not valid JSON") from None


def _time_us(text: str) -> int:
    try:
        time_us = int(text) if text.lstrip("+-").isdigit() else _iso_us(text)
    except (ValueError, OverflowError):
        raise RequestError(
            f"{AT_LEAST} is a receipt, offsets as {{table: {{partition: offset}}}}, or a broker "
            "time: ISO 8601 with its offset from UTC, or microseconds since 1970"
        ) from None
    if not _TIME_RANGE_US[0] <= time_us <= _TIME_RANGE_US[1]:
        raise RequestError(f"{AT_LEAST}: {time_us} microseconds since 1970 is no time of a message")
    return time_us


def _iso_us(text: str) -> int:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("without an offset from UTC")
    return (time - _EPOCH) // timedelta(microseconds=1)
