"""What a difference between an answer and its prediction means. Pure."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Value = int | str | None
Rows = list[tuple[Value, ...]]  # sorted by `in_order`; decimals as integers of 1e-8


class Verdict(StrEnum):
    """How an answer compares with what its receipt promises."""

    EXACT = "exact"
    GAP = "gap"  # rows are missing
    DUPLICATE = "duplicate"  # there are rows too many
    WRONG = "wrong"  # as many rows, but other ones


def in_order(rows: Rows) -> Rows:
    """The rows in an order that doesn't depend on the engine's."""
    return sorted(rows, key=lambda row: [(value is not None, str(value)) for value in row])


def compare(expected: Rows, found: Rows, counts: Sequence[int]) -> Verdict:
    """Judge an answer. `counts`: the columns that count rows; none: the rows speak themselves."""
    if expected == found:
        return Verdict.EXACT
    if counts:
        more = _counted(found, counts) - _counted(expected, counts)
    else:
        missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        more = extra.total() - missing.total()
    if more == 0:
        return Verdict.WRONG
    return Verdict.DUPLICATE if more > 0 else Verdict.GAP


def _counted(rows: Rows, counts: Sequence[int]) -> int:
    return sum(int(row[at] or 0) for row in rows for at in counts if at < len(row))
