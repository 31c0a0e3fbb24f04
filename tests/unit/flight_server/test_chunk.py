"""Chunks: cut at watermarks, and written so that they can be mapped without a copy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from contract.definition import load_definition
from contract.table import LANES, Lane
from flight_server.tail.aligned_ipc import write_file
from flight_server.tail.chunk import Chunk
from flight_server.tail.columns import as_strings, as_views, concat, filter_rows, tail_schema
from tests.support.log_model import DEFINITION
from tests.support.view_model import rows_of

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=50)


def rows(partitions: list[int], offsets: list[int]) -> pa.RecordBatch:
    count = len(offsets)
    plain = pa.RecordBatch.from_pylist(
        [
            {
                "id": f"a long enough id, number {p}-{o}",
                "kind": "low",
                "at": o,
                "price": None,
                "tags": ["x", None],
                "_partition": p,
                "_offset": o,
                "_timestamp": o,
            }
            for p, o in zip(partitions, offsets, strict=True)
        ],
        schema=DEFINITION.stored_schema,
    )
    assert plain.num_rows == count
    return as_views(plain, tail_schema(DEFINITION))


@given(TEXTS, st.data())
def test_filtering_views_is_filtering_strings(texts: list[str | None], data: st.DataObject) -> None:
    mask = np.array([data.draw(st.booleans()) for _ in texts], dtype=bool)
    plain = pa.record_batch({"text": pa.array(texts, pa.string())})
    schema = pa.schema([pa.field("text", pa.string_view())])
    skip = data.draw(st.integers(0, len(texts)))

    kept = filter_rows(as_views(plain, schema).slice(skip), mask[skip:])

    kept.validate(full=True)
    assert (
        as_strings(kept)["text"].to_pylist()
        == plain.slice(skip).filter(pa.array(mask[skip:]))["text"].to_pylist()
    )


@given(TEXTS, st.booleans())
def test_a_mapped_file_has_aligned_buffers_and_the_same_rows(
    texts: list[str | None], compact: bool
) -> None:
    count = len(texts)
    schema = pa.schema(
        [
            pa.field("text", pa.string_view()),
            pa.field("small", pa.int32()),
            pa.field("amount", pa.decimal128(18, 8)),
            pa.field("tags", pa.list_(pa.string())),
        ]
    )
    plain = pa.record_batch(
        {
            "text": pa.array(texts, pa.string()),
            "small": pa.array(range(count), pa.int32()),
            "amount": pa.array([None] * count, pa.decimal128(18, 8)),
            "tags": pa.array([["a", None]] * count, pa.list_(pa.string())),
        }
    )
    sink = io.BytesIO()

    size = write_file(sink, as_views(plain, schema, compact=compact), {"key": "value"})

    assert size == len(sink.getvalue())
    aligned = pa.allocate_buffer(size)
    np.frombuffer(aligned, np.uint8)[:] = np.frombuffer(sink.getvalue(), np.uint8)
    reader = pa.ipc.open_file(pa.BufferReader(aligned))
    batch = reader.get_batch(0)
    batch.validate(full=True)
    assert reader.schema.metadata == {b"key": b"value"}
    assert batch.equals(as_views(plain, schema))
    addresses = [b.address for c in batch.columns for b in c.buffers() if b is not None and b.size]
    assert count == 0 or all((a - aligned.address) % 64 == 0 for a in addresses)


def test_short_strings_need_no_data_buffer() -> None:
    plain = pa.record_batch({"text": pa.array(["BTCUSDT", None, "a"] * 100)})
    schema = pa.schema([pa.field("text", pa.string_view())])

    compact = as_views(plain, schema, compact=True)

    assert len(compact["text"].buffers()) == 2
    assert as_strings(compact)["text"].to_pylist() == plain["text"].to_pylist()


def test_tail_schema_has_views_at_the_top_and_plain_types_within() -> None:
    schema = tail_schema(load_definition("trades"))

    assert schema.field("symbol").type == pa.string_view()
    assert not schema.field("symbol").nullable
    assert schema.field("trade_conditions").type == pa.list_(pa.string())
    assert schema.field("price").type == pa.decimal128(18, 8)
    assert pa.string() not in schema.types


def test_a_chunk_above_the_watermark_is_whole_and_not_copied() -> None:
    chunk = Chunk(Lane.LOW, {0: (10, 20)}, rows([0, 0], [12, 15]))

    assert chunk.clip({0: (99, 99, 10)}) == ()
    assert chunk.cut(()) is chunk.batch


def test_a_chunk_below_the_watermark_is_covered() -> None:
    chunk = Chunk(Lane.LOW, {0: (10, 20), 1: (0, 5)}, rows([0, 1], [12, 2]))
    clip = chunk.clip({0: (0, 0, 20), 1: (0, 0, 7)})

    assert chunk.is_covered_by(clip)
    assert chunk.cut(clip) is None


def test_a_watermark_cuts_one_partition_and_leaves_the_other() -> None:
    chunk = Chunk(Lane.LOW, {0: (10, 20), 1: (0, 5)}, rows([0, 1, 0], [12, 2, 15]))

    cut = chunk.cut(chunk.clip({0: (0, 0, 13)}))

    assert cut is not None
    assert [(p, o) for p, o, _, _ in rows_of([cut])] == [(0, 15), (1, 2)]


def test_a_chunk_of_mixed_lanes_is_cut_lane_by_lane() -> None:
    lanes = np.array([Lane.HIGH, Lane.LOW, Lane.HIGH], dtype=np.int8)
    chunk = Chunk(None, {0: (0, 3)}, rows([0, 0, 0], [0, 1, 2]), lanes)

    cut = chunk.cut(chunk.clip({0: (2, 3, 1)}))
    gone = chunk.clip({0: (3, 3, 3)})

    assert cut is not None
    assert [o for _, o, _, _ in rows_of([cut])] == [1, 2]
    assert chunk.is_covered_by(gone)
    assert not chunk.is_covered_by(chunk.clip({0: (3, 3, 2)}))


def test_joining_leaves_out_what_is_empty() -> None:
    full, empty = rows([0], [1]), rows([], [])

    assert concat([empty, full, empty]) is full
    assert concat([empty, empty]).num_rows == 0


@pytest.mark.parametrize("count", [1, 7, 1_001])
def test_another_reader_of_the_format_reads_the_file(count: int, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    path = tmp_path / "rows.arrow"
    batch = rows([0] * count, list(range(count)))

    with path.open("wb") as sink:
        write_file(sink, batch, {})

    assert polars.read_ipc(path)["_offset"].to_list() == list(range(count))


def test_each_lane_has_its_own_watermark() -> None:
    assert len(LANES) == 3
    chunk = Chunk(Lane.MEDIUM, {0: (0, 10)}, rows([0], [4]))

    assert chunk.clip({0: (10, 0, 10)}) == ()
    assert chunk.clip({0: (0, 4, 0)}) == ((0, 1, 4),)
