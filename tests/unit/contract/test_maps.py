"""Structs to maps."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from contract.maps import map_column

MAP = pa.map_(pa.string(), pa.string())


def _structs(keys: list[str], rows: list[dict[str, str | None] | None]) -> pa.StructArray:
    return pa.array(rows, pa.struct([(key, pa.string()) for key in keys]))


@given(st.data())
def test_a_map_has_the_entries_that_are_not_null_in_the_order_of_their_keys(
    data: st.DataObject,
) -> None:
    keys = data.draw(st.lists(st.text(max_size=3), unique=True, max_size=5))
    one = st.fixed_dictionaries({key: st.none() | st.text(max_size=2) for key in keys})
    rows = data.draw(st.lists(st.none() | one, max_size=8))
    start = data.draw(st.integers(0, len(rows)))

    found = map_column(_structs(keys, rows).slice(start))

    assert found.type == MAP
    found.validate(full=True)
    assert found.to_pylist() == [
        None if row is None else sorted((k, v) for k, v in row.items() if v is not None)
        for row in rows[start:]
    ]


def test_the_order_of_the_keys_in_the_type_does_not_matter() -> None:
    one = map_column(_structs(["b", "a"], [{"b": "2", "a": "1"}]))
    other = map_column(_structs(["a", "b"], [{"b": "2", "a": "1"}]))

    assert one == other
