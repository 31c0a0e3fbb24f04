"""Messages to rows: whole batches at once, and every message ends in exactly one of two places.

The fast path joins the values of a batch with newlines and parses them in one call. It is taken
only where it provably cannot mix neighbours up: each value begins with `{` and ends with `}`, no
value holds a newline, the whole is valid UTF-8, and the parser saw as many rows as there are
values. (A raw newline is no character of a JSON string and two objects need a comma between them,
so no row can span two values, and each value holds at least one row.) Where that fails the batch
is cut into slices, down to single messages, and the messages that fail alone are the rejects.
The verdict is always that of the same parser; `contract.explain` only words the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from contract.explain import explain, map_keys, reason
from contract.maps import map_column
from contract.table import DEAD_SCHEMA, TIMESTAMP_RANGE_US, TIMESTAMP_TYPE, Column, TableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from contract.log import RawBatch

_SCREENED = 1_024  # messages of a failing slice that are looked at one by one
_FAN_OUT = 16  # slices that it is cut into where the look finds nothing
_MAP_KEYS = 64  # keys of a map column that the fast path learns; others take the slow one

_OPEN, _CLOSE = ord("{"), ord("}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """`rows` has the stored schema, `rejects` has DEAD_SCHEMA; both in log order."""

    rows: pa.RecordBatch
    rejects: pa.RecordBatch


class Decoder:
    """Decodes the messages of one table. What it learns (map keys) changes speed, not results."""

    def __init__(self, definition: TableDefinition) -> None:
        self._definition = definition
        self._map_keys: dict[str, dict[str, None]] = {
            c.name: {} for c in definition.columns if pa.types.is_map(c.type)
        }
        self._options = self._parse_options(self._map_keys)

    def decode(self, raw: RawBatch) -> Decoded:
        """Rows and rejects of these messages; raises for no message."""
        n = len(raw)
        parsed = list(self._parse(raw.values, np.arange(n))) if n else []
        indices = np.concatenate([at for at, _ in parsed]) if parsed else np.empty(0, np.int64)
        payload = pa.concat_tables([p for _, p in parsed]) if parsed else None
        if payload is not None and len(parsed) > 1:
            order = np.argsort(indices)
            indices, payload = indices[order], payload.take(pa.array(order))
        if payload is not None and not (valid := self._valid(payload)).all():
            payload = payload.filter(pa.array(valid))
            indices = indices[valid]
        return Decoded(
            self._rows(raw, payload, indices),
            self._rejects(raw, np.setdiff1d(np.arange(n), indices, assume_unique=True)),
        )

    def _parse(
        self, values: Sequence[bytes | None], at: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Indices and payload of those messages among `at` that can be parsed, in order."""
        chosen = [values[i] for i in at]
        table = self._parse_joined(chosen, self._options)
        if table is None and len(at) == 1:
            table = self._parse_alone(chosen[0])
        if table is not None:
            yield at, self._payload(table)
        elif len(at) > 1:
            for part in self._cut(chosen, at):
                yield from self._parse(values, part)

    def _cut(
        self, chosen: Sequence[bytes | None], at: NDArray[np.int64]
    ) -> Iterator[NDArray[np.int64]]:
        """Smaller parts of a slice that failed: suspects alone, the others together."""
        if len(at) > _SCREENED:
            yield from np.array_split(at, -(-len(at) // _SCREENED))
            return
        suspect = np.array([reason(self._definition, value) is not None for value in chosen])
        if suspect.any() and not suspect.all():
            yield at[~suspect]
            yield from np.array_split(at[suspect], int(suspect.sum()))
        else:
            yield from np.array_split(at, min(_FAN_OUT, len(at)))

    def _parse_joined(
        self, values: Sequence[bytes | None], options: pj.ParseOptions
    ) -> pa.Table | None:
        try:
            joined = b"\n".join(values)  # type: ignore[arg-type]
        except TypeError:  # a tombstone among them
            return None
        if not _separable(joined, values):
            return None
        read = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        try:
            table = pj.read_json(pa.BufferReader(joined), read_options=read, parse_options=options)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return table if table.num_rows == len(values) else None

    def _parse_alone(self, value: bytes | None) -> pa.Table | None:
        """A message that failed with the known map keys, tried with its own (and learned)."""
        if value is None or not self._map_keys:
            return None
        value = value.strip(b" \t\r\n")
        own = {name: map_keys(value, name) for name in self._map_keys}
        table = self._parse_joined([value], self._parse_options(own))
        if table is not None:
            for name, keys in own.items():
                known = self._map_keys[name]
                if len(known | keys) <= _MAP_KEYS:
                    known.update(keys)
            self._options = self._parse_options(self._map_keys)
        return table

    def _parse_options(self, keys: dict[str, dict[str, None]]) -> pj.ParseOptions:
        fields = [(c.name, _json_type(c, keys.get(c.name, {}))) for c in self._definition.columns]
        return pj.ParseOptions(
            explicit_schema=pa.schema(fields),
            newlines_in_values=False,
            unexpected_field_behavior="error",
        )

    def _payload(self, table: pa.Table) -> pa.Table:
        arrays = []
        for column in self._definition.columns:
            array = table.column(column.name).combine_chunks()
            if pa.types.is_map(column.type):
                array = map_column(array)
            elif pa.types.is_timestamp(column.type):
                array = array.cast(column.type)
            arrays.append(array)
        return pa.table(arrays, names=[c.name for c in self._definition.columns])

    def _valid(self, payload: pa.Table) -> NDArray[np.bool_]:
        valid = np.ones(payload.num_rows, dtype=bool)
        for column in self._definition.columns:
            array = payload.column(column.name)
            if column.required and array.null_count:
                valid &= array.is_valid().to_numpy()
            if pa.types.is_decimal(column.type):
                valid &= _digits_fit(array, column.type.precision)
            elif pa.types.is_timestamp(column.type):
                valid &= _in_range(array)
            elif column.values:
                allowed = pc.is_in(array, value_set=pa.array([*column.values, None], array.type))
                valid &= allowed.to_numpy()
        return valid

    def _rows(
        self, raw: RawBatch, payload: pa.Table | None, indices: NDArray[np.int64]
    ) -> pa.RecordBatch:
        schema = self._definition.stored_schema
        if payload is None or payload.num_rows == 0:
            return pa.RecordBatch.from_pylist([], schema=schema)
        provenance: list[NDArray[Any]] = [
            np.array(raw.partitions, dtype=np.int32),
            np.array(raw.offsets, dtype=np.int64),
            np.array(raw.timestamps_us, dtype=np.int64),
        ]
        if len(indices) < len(raw):
            provenance = [values[indices] for values in provenance]
        arrays: list[pa.Array] = [c.combine_chunks() for c in payload.columns]
        arrays += [
            pa.array(provenance[0]),
            pa.array(provenance[1]),
            pa.array(provenance[2]).cast(TIMESTAMP_TYPE),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _rejects(self, raw: RawBatch, indices: NDArray[np.int64]) -> pa.RecordBatch:
        at = indices.tolist()
        columns = {
            "topic": [self._definition.topic] * len(at),
            "_partition": [raw.partitions[i] for i in at],
            "_offset": [raw.offsets[i] for i in at],
            "_timestamp": [raw.timestamps_us[i] for i in at],
            "key": [raw.keys[i] for i in at],
            "value": [raw.values[i] for i in at],
            "reason": [explain(self._definition, raw.values[i]) for i in at],
        }
        return pa.RecordBatch.from_arrays(
            [pa.array(columns[f.name], f.type) for f in DEAD_SCHEMA], schema=DEAD_SCHEMA
        )


def _separable(joined: bytes, values: Sequence[bytes | None]) -> bool:
    """Whether newlines in `joined` stand between values only, and each value is in braces."""
    if joined.count(b"\n") != len(values) - 1:
        return False
    lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    if not lengths.all():
        return False
    ends = np.cumsum(lengths + 1) - 1
    characters = np.frombuffer(joined, np.uint8)
    if (characters[ends - lengths] != _OPEN).any() or (characters[ends - 1] != _CLOSE).any():
        return False
    if not joined.isascii():
        try:
            joined.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def _json_type(column: Column, keys: dict[str, None]) -> pa.DataType:
    if pa.types.is_timestamp(column.type):
        return pa.int64()
    if pa.types.is_map(column.type):
        return pa.struct([(key, pa.string()) for key in keys])
    return column.type


def _digits_fit(array: pa.ChunkedArray, precision: int) -> NDArray[np.bool_]:
    """The parser checks the digits of the text, not those of the value after scaling."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        wide = pc.abs(array.cast(pa.decimal256(76, array.type.scale), safe=False))
        limit = pa.scalar(10 ** (precision - array.type.scale), pa.decimal256(76, 0))
        fits: NDArray[np.bool_] = pc.less(wide, limit).fill_null(True).to_numpy()
        return fits
    return np.ones(len(array), dtype=bool)


def _in_range(array: pa.ChunkedArray) -> NDArray[np.bool_]:
    low, high = TIMESTAMP_RANGE_US
    microseconds = array.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(microseconds, low), pc.less_equal(microseconds, high))
    result: NDArray[np.bool_] = inside.fill_null(True).to_numpy()
    return result
