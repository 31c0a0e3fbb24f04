"""Edit the bytes of a logical plan that is one listing scan: other files, another name.

The engine has no call that scans a given list of files, but its plans can be stored as protobuf
and loaded again. So a scan of one template file is prepared once, and each statement's scan is
that plan with three fields replaced. Only the wire format is needed for this, not the schema of
the engine's messages:

    LogicalPlanNode.listing_scan             = 1
    ListingTableScanNode.paths               = 2   repeated string, URLs
    ListingTableScanNode.collect_stat        = 8   bool
    ListingTableScanNode.table_name          = 14  TableReference{bare = 1 {table = 1}}

Fields of a message may come in any order, so everything else is copied as one block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.errors import BugError

_LISTING_SCAN = 1
_PATHS = 2
_COLLECT_STAT = 8
_TABLE_NAME = 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_WIDTH_BYTES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class ListingPlan:
    """A listing scan without its paths, name and choice of statistics."""

    rest: bytes

    @classmethod
    def parse(cls, plan: bytes) -> ListingPlan:
        """Take apart the bytes of a plan that is nothing but one listing scan.

        Raises:
            BugError: the plan is something else, or the engine's format changed.
        """
        nodes = split_fields(plan)
        if len(nodes) != 1 or nodes[0].number != _LISTING_SCAN:
            raise BugError("the engine's plan of a Parquet file is not a single listing scan")
        scan = split_fields(nodes[0].payload)
        if not {_PATHS, _TABLE_NAME} <= {f.number for f in scan}:
            raise BugError("the engine's listing scan has no paths or no name")
        replaced = {_PATHS, _COLLECT_STAT, _TABLE_NAME}
        return cls(rest=b"".join(f.raw for f in scan if f.number not in replaced))

    def with_files(self, urls: pa.Array, table_name: str, *, collect_stat: bool) -> bytes:
        """Bytes of the plan that scans `urls` (pa.string, no nulls) under the name `table_name`."""
        bare = field_of(1, field_of(1, table_name.encode()))
        scan = [
            self.rest,
            repeated_string(_PATHS, urls),
            varint(_COLLECT_STAT << 3 | _VARINT) + varint(1) if collect_stat else b"",
            field_of(_TABLE_NAME, bare),
        ]
        return field_of(_LISTING_SCAN, b"".join(scan))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: `raw` is all of it, `payload` what is behind tag and length."""

    number: int
    payload: bytes
    raw: bytes


def split_fields(message: bytes) -> list[Field]:
    """The fields of a protobuf message in their order.

    Raises:
        BugError: these bytes are not a protobuf message.
    """
    fields = []
    at = 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at)
        wire_type = key & 7
        if wire_type == _BYTES:
            size, at = read_varint(message, at)
            end = at + size
        elif wire_type == _VARINT:
            _, end = read_varint(message, at)
        elif wire_type in _FIXED_WIDTH_BYTES:
            end = at + _FIXED_WIDTH_BYTES[wire_type]
        else:
            raise BugError(f"unknown wire type {wire_type} in a plan of the engine")
        if end > len(message):
            raise BugError("a plan of the engine ends inside a field")
        fields.append(Field(key >> 3, message[at:end], message[start:end]))
        at = end
    return fields


def repeated_string(number: int, values: pa.Array) -> bytes:
    """A repeated string field; vectorised, for there may be tens of thousands of values."""
    if len(values) == 0:
        return b""
    binary = values.cast(pa.binary())
    lengths = pc.binary_length(binary).to_numpy(zero_copy_only=False)
    distinct, which = np.unique(lengths, return_inverse=True)
    tag = varint(number << 3 | _BYTES)
    heads = pa.array([tag + varint(int(n)) for n in distinct], pa.binary()).take(pa.array(which))
    joined = pc.binary_join_element_wise(heads, binary, b"")
    # The values of a binary array lie one behind the other: its buffer is the encoded field.
    ends = np.frombuffer(joined.buffers()[1], dtype=np.int32)
    first, last = int(ends[joined.offset]), int(ends[joined.offset + len(joined)])
    return bytes(memoryview(joined.buffers()[2])[first:last])


def field_of(number: int, payload: bytes) -> bytes:
    """One length-delimited field."""
    return varint(number << 3 | _BYTES) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """A non-negative integer in base-128 form."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The integer that starts at `at`, and where the next byte is.

    Raises:
        BugError: the message ends inside it, or it is longer than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BugError("a plan of the engine holds a broken integer")
