"""The definition of a table as one value: columns, business key, lanes, file layout.

A table is a definition, not code: `contract/tables/<name>.toml` or a file of the user's in the
same form. Both processes read the same file and derive everything else from this value.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from decimal import Decimal

PARTITION = "_partition"
OFFSET = "_offset"
TIMESTAMP = "_timestamp"
PROVENANCE = (PARTITION, OFFSET, TIMESTAMP)

TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")

# From 1970 to the last microsecond that clients with nanoseconds (pandas, Grafana) can hold.
TIMESTAMP_RANGE_US = (0, 9_223_372_036_854_775)

PROVENANCE_FIELDS = (
    pa.field(PARTITION, pa.int32(), nullable=False),
    pa.field(OFFSET, pa.int64(), nullable=False),
    pa.field(TIMESTAMP, TIMESTAMP_TYPE, nullable=False),
)

DEAD_SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        *PROVENANCE_FIELDS,
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


class Lane(IntEnum):
    """Priority of a row; the values are stored in markers and never change."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


LANES = tuple(Lane)


@dataclass(frozen=True, slots=True)
class Column:
    """One payload column. `values` lists what is allowed; empty means anything of the type."""

    name: str
    type: pa.DataType
    required: bool = False
    values: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True)
class LaneRule:
    """A row is in `lane` if all conditions that are given hold.

    `column` with `one_of`: the column's text is in the list. `product` with `at_least` and
    `below`: the product of these columns lies in [at_least, below). NULL never meets a condition.
    """

    lane: Lane
    column: str | None = None
    one_of: tuple[str, ...] = ()
    product: tuple[str, ...] = ()
    at_least: Decimal | None = None
    below: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FileLayout:
    """How Parquet files of the table are written; names of columns are those of `stored_schema`."""

    row_group_rows: int = 131_072
    dictionary: tuple[str, ...] = ()
    delta: tuple[str, ...] = ()
    bloom: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """One table: what its messages hold, and how rows are told apart, ranked and stored."""

    name: str
    topic: str
    columns: tuple[Column, ...]
    message_id: str
    event_time: str
    duplicate_window_us: int
    duplicate_rows: int
    lane_rules: tuple[LaneRule, ...]
    layout: FileLayout

    @property
    def dead_name(self) -> str:
        """Name of the table that holds the messages which could not be decoded."""
        return f"{self.name}_dead"

    @property
    def payload_schema(self) -> pa.Schema:
        """The columns of a message."""
        return pa.schema([pa.field(c.name, c.type, nullable=not c.required) for c in self.columns])

    @property
    def stored_schema(self) -> pa.Schema:
        """The payload columns, then partition, offset and broker timestamp."""
        return pa.schema([*self.payload_schema, *PROVENANCE_FIELDS])

    @property
    def rules_digest(self) -> str:
        """Changes when rows would go to other lanes or other rows would be duplicates."""
        rules = [
            [r.lane, r.column, r.one_of, r.product, str(r.at_least), str(r.below)]
            for r in self.lane_rules
        ]
        duplicates = [self.message_id, self.duplicate_window_us, self.duplicate_rows]
        text = json.dumps([rules, duplicates])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
