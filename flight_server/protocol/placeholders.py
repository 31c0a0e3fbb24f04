"""`?` placeholders become `$1`, `$2`, …: the form that the engine can bind.

Likewise the functions that tools call with and without parentheses get the form that the engine
reads: `current_schema()`, but `current_user`.

The scanner knows what a `?` can hide in: strings, E-strings with backslashes, quoted identifiers,
line comments, nested block comments and dollar strings. Anything it does not know, and anything
unterminated, goes through unchanged, for the engine's parser to judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from contract.errors import RequestError

_NEXT = re.compile(r"""'|"|`|--|/\*|\?|\$|[A-Za-z_\u0080-\U0010ffff][\w$]*|\d[\w$]*""")
_DOLLAR = re.compile(r"\$(\w*)(\$?)")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_BARE = frozenset({"current_user", "session_user", "current_catalog"})
_CALLED = frozenset({"current_schema", "current_database"})
_MAYBE = re.compile(r"current_|session_user", re.IGNORECASE)
_CALL = re.compile(r"\s*\(")
_EMPTY_CALL = re.compile(r"\s*\(\s*\)")
_NAMING = re.compile(r"(?:\.|\bas)\s*$", re.IGNORECASE)
_ESCAPED = re.compile(r"(?:[^'\\]|\\.|'')*+'", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """SQL with `$n` placeholders only, and whether it has any."""

    sql: str
    has_placeholders: bool


def rewrite(sql: str) -> Statement:
    """Number the `?` of `sql` from left to right; RequestError when `?` and `$n` are mixed."""
    sql = _with_calls(sql)
    marks, dollars, _ = _scan(sql)
    if marks and dollars:
        raise RequestError("a statement uses either ? or $1 as placeholders, not both")
    pieces: list[str] = []
    done = 0
    for number, at in enumerate(marks, start=1):
        # a$1 and $1and would be one name each, so that neighbours of the ? must stay apart
        before = " " if at and _is_word(sql[at - 1]) else ""
        after = " " if at + 1 < len(sql) and _is_word(sql[at + 1]) else ""
        pieces += (sql[done:at], before, f"${number}", after)
        done = at + 1
    pieces.append(sql[done:])
    return Statement("".join(pieces), bool(marks or dollars))


def _with_calls(sql: str) -> str:
    if not _MAYBE.search(sql):
        return sql
    pieces: list[str] = []
    done = 0
    for start, at in _scan(sql)[2]:
        if _NAMING.search(sql, max(0, start - 32), start):
            continue  # a name that somebody else gave
        is_bare = sql[start:at].lower() in _BARE
        empty = _EMPTY_CALL.match(sql, at)
        if is_bare and empty:
            pieces.append(sql[done:at])
            done = empty.end()
        elif not is_bare and not _CALL.match(sql, at):
            pieces += (sql[done:at], "()")
            done = at
    return "".join((*pieces, sql[done:]))


def names(sql: str) -> list[str]:
    """The `$name` placeholders of `sql`, as often as they stand in it."""
    return _scan(sql)[1]


def _is_word(character: str) -> bool:
    return character.isalnum() or character in "_$"


def _scan(sql: str) -> tuple[list[int], list[str], list[tuple[int, int]]]:
    """Positions of every placeholder `?`, every `$name` placeholder, and where functions stand."""
    marks: list[int] = []
    dollars: list[str] = []
    functions: list[tuple[int, int]] = []
    at = 0
    while found := _NEXT.search(sql, at):
        mark, at = found.group(), found.end()
        if mark == "?":
            marks.append(found.start())
        elif mark == "$":
            start = found.start()
            at, is_placeholder = _skip_dollar(sql, start)
            if is_placeholder:
                dollars.append(sql[start:at])
        elif mark in ("e", "E") and sql.startswith("'", at):
            escaped = _ESCAPED.match(sql, at + 1)
            at = escaped.end() if escaped else len(sql)
        else:
            if mark.lower() in _BARE | _CALLED:
                functions.append((found.start(), at))
            at = _skip(sql, mark, at)
    return marks, dollars, functions


def _skip(sql: str, mark: str, at: int) -> int:
    """Where the text goes on after what `mark` opened; `at` is the position after it."""
    if mark in ("'", '"', "`"):
        return _after(sql, mark, at)  # a doubled quote is two strings in a row to this scanner
    if mark == "--":
        return _after(sql, "\n", at)
    if mark == "/*":
        return _after_comment(sql, at)
    return at


def _after(sql: str, end: str, at: int) -> int:
    found = sql.find(end, at)
    return len(sql) if found < 0 else found + len(end)


def _after_comment(sql: str, at: int) -> int:
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, at)
        if edge is None:
            return len(sql)
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at


def _skip_dollar(sql: str, at: int) -> tuple[int, bool]:
    """After a dollar string or a `$name`, and whether it was a placeholder."""
    found = _DOLLAR.match(sql, at)
    if found is None:
        return at + 1, False
    tag, closes = found.groups()
    if closes and not tag[:1].isdigit():
        return _after(sql, found.group(), found.end()), False
    return at + 1 + len(tag), bool(tag)
