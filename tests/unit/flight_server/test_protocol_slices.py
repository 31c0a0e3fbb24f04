from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import LimitError
from flight_server.protocol.slices import slices

_ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 300)).map(lambda n: n)),
    max_size=60,
)


def _batch(rows: list[tuple[int, int | None]]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "n": pa.array([n for n, _ in rows], pa.int64()),
            "s": pa.array([None if size is None else "x" * size for _, size in rows], pa.string()),
            "l": pa.array([["y"] * (n or 0) for n, _ in rows], pa.list_(pa.string())),
        }
    )


@given(_ROWS, st.integers(1, 20), st.integers(1, 2000), st.integers(0, 60))
def test_slices_hold_every_row_once_within_the_bounds(
    rows: list[tuple[int, int | None]], rows_max: int, bytes_max: int, start: int
) -> None:
    batch = _batch(rows).slice(min(start, len(rows)))

    parts = list(slices(batch, rows_max=rows_max, bytes_max=bytes_max, row_bytes_max=1 << 20))

    assert pa.Table.from_batches(parts, batch.schema).equals(pa.Table.from_batches([batch]))
    assert all(0 < part.num_rows <= rows_max for part in parts)
    assert all(part.nbytes <= bytes_max or part.num_rows == 1 for part in parts)


def test_row_that_no_client_can_take_names_its_column() -> None:
    batch = pa.record_batch({"small": [1, 2], "huge": ["x", "y" * 1000]})

    with pytest.raises(LimitError, match="'huge'"):
        list(slices(batch, rows_max=10, bytes_max=100, row_bytes_max=500))


def test_small_batch_is_passed_on_as_it_is() -> None:
    batch = pa.record_batch({"n": [1, 2, 3]})

    (part,) = slices(batch, rows_max=10, bytes_max=1000, row_bytes_max=1000)

    assert part is batch
