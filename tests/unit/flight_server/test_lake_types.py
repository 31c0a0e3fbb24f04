"""One rule turns stored schemas into scanned ones, for lake and tail alike."""

from __future__ import annotations

import pyarrow as pa

from contract.definition import load_definition
from flight_server.lake.types import scan_schema


def test_texts_are_views_at_the_top_and_plain_inside() -> None:
    stored = pa.schema(
        [
            pa.field("a", pa.large_string(), nullable=False, metadata={"x": "y"}),
            pa.field("b", pa.binary()),
            pa.field("c", pa.large_list(pa.field("element", pa.large_string(), nullable=False))),
            pa.field("d", pa.map_(pa.string_view(), pa.field("v", pa.large_binary()))),
            pa.field("e", pa.struct([pa.field("f", pa.string_view(), nullable=False)])),
            pa.field("g", pa.decimal128(18, 8)),
        ],
        metadata={"k": "v"},
    )

    expected = pa.schema(
        [
            pa.field("a", pa.string_view(), nullable=False),
            pa.field("b", pa.binary_view()),
            pa.field("c", pa.list_(pa.field("item", pa.string(), nullable=False))),
            pa.field("d", pa.map_(pa.string(), pa.binary())),
            pa.field("e", pa.struct([pa.field("f", pa.string(), nullable=False)])),
            pa.field("g", pa.decimal128(18, 8)),
        ]
    )

    assert scan_schema(stored).equals(expected, check_metadata=True)
    assert scan_schema(stored).field("c").type.value_field.name == "item"


def test_a_scanned_schema_stays_as_it_is() -> None:
    once = scan_schema(load_definition("trades").stored_schema)

    assert scan_schema(once).equals(once, check_metadata=True)
