"""What the text of a physical plan says of it: how to run it, and whether it can be stopped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 8_192  # what the engine computes best with
# It looks up once in 128 batches of its input, and a join may make much of each of their rows:
# smaller batches, sooner looks.
_JOIN_BATCH_ROWS = 1_024
_WIDE_BATCH_ROWS = 65_536
_WIDE_BATCH_BYTES = 2 << 20  # what one message of a stream holds

# Operators that do more with a batch than to pass it on.
_COMPUTES = re.compile(r"(?:Aggregate|Sort\w*|Join|Window\w*|Unnest|Recursive\w*|Analyze)Exec")
# Those that may stay within one batch of their input for long, where the engine does not look up.
_LINGERS = re.compile(r"(?:Join|Unnest)Exec")
_PAIRWISE = re.compile(r"(?:CrossJoin|NestedLoopJoin)Exec")
_ONE_ROW = re.compile(r"(?:ProjectionExec: [^\n]*\s+)?PlaceholderRowExec\s*")  # SELECT 1
_OWN_TABLES = "StreamingTableExec"  # of the information schema
_TEXT_BYTES = 32  # as a text or list is estimated


def is_pairwise(operators: str) -> bool:
    """Whether it compares all rows of two tables, where the engine cannot be interrupted."""
    return _PAIRWISE.search(operators) is not None


def lingers(operators: str) -> bool:
    """Whether the engine may be at work on it for a while after it was stopped."""
    return _LINGERS.search(operators) is not None


def makes_one_row(operators: str) -> bool:
    """Whether it makes one row of nothing, which takes no time."""
    return _ONE_ROW.fullmatch(operators) is not None


def shows_settings(operators: str) -> bool:
    """Whether it reads the engine's own tables, which show the settings of where it runs."""
    return _OWN_TABLES in operators


def batch_rows(operators: str, schema: pa.Schema) -> int:
    """How many rows a batch shall have: many where the plan only passes rows on."""
    if _LINGERS.search(operators):
        return _JOIN_BATCH_ROWS
    if _COMPUTES.search(operators):
        return BATCH_ROWS
    row_bytes = sum(map(_row_bytes, schema.types))
    rows = BATCH_ROWS
    while rows < _WIDE_BATCH_ROWS and 2 * rows * row_bytes <= _WIDE_BATCH_BYTES:
        rows *= 2
    return rows


def _row_bytes(kind: pa.DataType) -> int:
    try:
        width_bits: int = kind.bit_width
    except ValueError:  # of no fixed width
        return _TEXT_BYTES
    return max(1, width_bits // 8)
