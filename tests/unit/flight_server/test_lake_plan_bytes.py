"""The wire format: what is written is read back, what is no plan is refused."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BugError
from flight_server.lake.plan_bytes import (
    ListingPlan,
    field_of,
    read_varint,
    repeated_string,
    split_fields,
    varint,
)

TEMPLATE = field_of(
    1,
    field_of(2, b"file:///no-rows.parquet")
    + field_of(5, b"a schema")
    + varint(8 << 3)
    + varint(1)
    + varint(9 << 3)
    + varint(2)
    + field_of(14, b"a name"),
)


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_integers_are_read_back(value: int) -> None:
    encoded = varint(value)

    assert read_varint(b"x" + encoded + b"y", 1) == (value, 1 + len(encoded))


@given(st.lists(st.text(max_size=300), max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_repeated_strings_equal_the_fields_written_one_by_one(
    texts: list[str], cut_front: int, cut_back: int
) -> None:
    whole = pa.array(texts, pa.string())
    values = whole[cut_front : max(cut_front, len(texts) - cut_back)]

    expected = b"".join(field_of(2, v.encode()) for v in values.to_pylist())

    assert repeated_string(2, values) == expected


def test_paths_name_and_statistics_are_replaced_and_the_rest_is_kept() -> None:
    plan = ListingPlan.parse(TEMPLATE)

    (node,) = split_fields(plan.with_files(pa.array(["u1", "u2"]), "scan#7", collect_stat=False))
    fields = split_fields(node.payload)

    assert [f.payload for f in fields if f.number == 2] == [b"u1", b"u2"]
    assert [f.payload for f in fields if f.number == 5] == [b"a schema"]
    assert [f.payload for f in fields if f.number == 9] == [varint(2)]
    assert [f.payload for f in fields if f.number == 14] == [field_of(1, field_of(1, b"scan#7"))]
    assert not [f for f in fields if f.number == 8]


def test_statistics_are_asked_for_by_field_8() -> None:
    plan = ListingPlan.parse(TEMPLATE)

    (node,) = split_fields(plan.with_files(pa.array(["u"]), "s", collect_stat=True))

    assert [f.payload for f in split_fields(node.payload) if f.number == 8] == [b"\x01"]


def test_all_wire_types_are_split() -> None:
    message = (
        varint(1 << 3)
        + varint(300)
        + varint(2 << 3 | 1)
        + bytes(8)
        + varint(3 << 3 | 5)
        + bytes(4)
        + field_of(4, b"text")
    )

    fields = split_fields(message)

    assert [f.number for f in fields] == [1, 2, 3, 4]
    assert b"".join(f.raw for f in fields) == message


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x05ab",  # shorter than its length
        b"\x08",  # ends before its value
        b"\x0b",  # a group
        b"\xff" * 11,  # an integer without end
        field_of(2, b"") + field_of(2, b""),  # two nodes
        field_of(3, b""),  # another node
        field_of(1, field_of(5, b"a schema")),  # a scan without paths
    ],
)
def test_what_is_not_one_listing_scan_is_a_bug(message: bytes) -> None:
    with pytest.raises(BugError):
        ListingPlan.parse(message)
