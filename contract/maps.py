"""Structs of text to maps of text, for JSON objects whose keys are data."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def map_column(column: pa.StructArray) -> pa.MapArray:
    """A map<string,string> with the non-null children of each struct as its entries.

    A null struct is a null map. Keys stand in the order of their names, whatever order the
    message or the struct type had, so that equal messages give equal rows.
    """
    names = sorted(field.name for field in column.type)
    rows, keys = len(column), len(names)
    children = [column.field(name) for name in names]
    present = np.zeros((rows, keys), dtype=bool)
    for k, child in enumerate(children):
        present[:, k] = child.is_valid().to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    present &= valid[:, None]
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(present.sum(axis=1), out=offsets[1:])
    row, key = np.nonzero(present)  # in row order, then key order
    all_items = pa.concat_arrays(children) if children else pa.array([], pa.string())
    items = all_items.take(pa.array(key * rows + row))
    all_keys = pa.array(names, pa.string()).take(pa.array(key))
    return pa.MapArray.from_arrays(
        pa.array(offsets, mask=np.append(~valid, False)) if not valid.all() else pa.array(offsets),
        all_keys,
        items,
    )
