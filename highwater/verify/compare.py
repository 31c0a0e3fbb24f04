"""Whether rows are equal, column by column, whatever writer stored them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def differences(
    found: pa.Table, wanted: pa.Table, columns: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Column -> indices of the rows where it differs; only columns that do. Equal shapes."""
    differing = {}
    for name in columns:
        a, b = found.column(name).combine_chunks(), wanted.column(name).combine_chunks()
        if a.equals(b):
            continue
        at = _at(a, b)
        if len(at):
            differing[name] = at
    return differing


def _at(a: pa.Array, b: pa.Array) -> NDArray[np.int64]:
    """Taken only where something differs, so it may be slow."""
    plain = _map if pa.types.is_map(a.type) else _plain
    pairs = zip(a.to_pylist(), b.to_pylist(), strict=True)
    return np.array([i for i, (x, y) in enumerate(pairs) if plain(x) != plain(y)], dtype=np.int64)


def _plain(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and value != value else value


def _map(value: Any) -> Any:
    """A map without the order of its keys, which other writers may change."""
    return None if value is None else sorted(value)
