"""Messages to rows: whole batches at once, and every message ends in exactly one of two places.

The fast path joins the values of a batch with newlines and parses them in one call. It is taken
only where it provably cannot mix neighbours up: each value begins with `{` and ends with `}`, no
value holds a newline, the whole is valid UTF-8, and the parser saw as many rows as there are
values. (A raw newline is no character of a JSON string and two objects need a comma between them,
so no row can span two values, and each value holds at least one row.) Where that fails the batch
is cut into slices, and in a small one each message is looked at by `contract.explain`, whose
reasons are final. What is left is parsed as before, down to single messages, so the verdict does
not depend on the neighbours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from contract.explain import WHITESPACE, Inspector
from contract.maps import map_column
from contract.table import DEAD_SCHEMA, TIMESTAMP_RANGE_US, TIMESTAMP_TYPE, Column, TableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from contract.log import RawBatch

_LOOKED_AT = 64  # messages of a failing slice that are looked at one by one
_FAN_OUT = 16  # slices at most that a larger one is cut into
_KNOWN_KEYS = 64  # keys of a map column that the fast path learns
_SLICE_KEYS = 1_024  # keys of a map column that a slice may hold before it is cut once more

_SCANNED_BYTES = 256 * 1024  # small enough that its mask is no fresh memory of the system
_OPEN, _CLOSE, _NEWLINE = b"{}\n"

_Keys = dict[str, dict[str, None]]  # map column -> its keys, in order of arrival


@dataclass(frozen=True, slots=True)
class Decoded:
    """`rows` has the stored schema, `rejects` has DEAD_SCHEMA; both in log order."""

    rows: pa.RecordBatch
    rejects: pa.RecordBatch


class Decoder:
    """Decodes the messages of one table. What it learns (map keys) changes speed, not results."""

    def __init__(self, definition: TableDefinition) -> None:
        self._definition = definition
        self._schema = definition.stored_schema
        self._inspector = Inspector(definition)
        self._allowed = {
            c.name: pa.array([*c.values, None], c.type) for c in definition.columns if c.values
        }
        self._known: _Keys = {c.name: {} for c in definition.columns if pa.types.is_map(c.type)}
        self._options = self._parse_options(self._known)

    def decode(self, raw: RawBatch) -> Decoded:
        """Rows and rejects of these messages; raises for no message."""
        n = len(raw)
        reasons: dict[int, str] = {}
        parsed = list(self._parse(raw.values, np.arange(n), reasons)) if n else []
        if not parsed:
            return Decoded(self._no_rows(), self._rejects(raw, range(n), reasons))
        indices = np.concatenate([at for at, _ in parsed])
        payload = self._payload([table for _, table in parsed])
        valid = self._valid(payload)
        if not valid.all():
            payload = [array.filter(pa.array(valid)) for array in payload]
            indices = indices[valid]
        rejected = np.ones(n, dtype=bool)
        rejected[indices] = False
        return Decoded(
            self._rows(raw, payload, indices),
            self._rejects(raw, np.flatnonzero(rejected).tolist(), reasons),
        )

    def _parse(
        self, values: Sequence[bytes | None], at: NDArray[np.int64], reasons: dict[int, str]
    ) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Those messages among `at` that can be parsed, ascending, with what the parser gave.

        Puts into `reasons` why others cannot, as far as it finds out.
        """
        chosen = values if len(at) == len(values) else [values[i] for i in at.tolist()]
        table = self._parse_joined(chosen, self._options)
        if table is not None:
            yield at, table
        elif len(at) <= _LOOKED_AT:
            yield from self._parse_looking(values, at, reasons)
        else:
            for part in np.array_split(at, min(_FAN_OUT, -(-len(at) // _LOOKED_AT))):
                yield from self._parse(values, part, reasons)

    def _parse_looking(
        self, values: Sequence[bytes | None], at: NDArray[np.int64], reasons: dict[int, str]
    ) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """As `_parse`: without the messages that have a reason, with the map keys of the others."""
        clean: list[int] = []
        keys: _Keys = {name: {} for name in self._known}
        for i in at.tolist():
            reason, fields = self._inspector.look(values[i])
            if reason is not None:
                reasons[i] = reason
                continue
            clean.append(i)
            for name in keys:
                keys[name].update(dict.fromkeys(fields.get(name) or ()))
        few_keys = all(len(names) <= _SLICE_KEYS for names in keys.values())
        if clean and (few_keys or len(clean) == 1):
            options = self._parse_options(keys)
            table = self._parse_joined([values[i] for i in clean], options)
            if table is not None:
                self._learn(keys)
                yield np.array(clean), table
                return
        if len(clean) > 1:
            for part in np.array_split(clean, min(_FAN_OUT, len(clean))):
                yield from self._parse_looking(values, part, reasons)

    def _learn(self, keys: _Keys) -> None:
        """Let the fast path know these keys, as far as there is room."""
        for name, names in keys.items():
            known = self._known[name]
            for key in names:
                if len(known) < _KNOWN_KEYS:
                    known[key] = None
        self._options = self._parse_options(self._known)

    def _parse_joined(
        self, values: Sequence[bytes | None], options: pj.ParseOptions
    ) -> pa.Table | None:
        joined = _joined(values)
        if joined is None:
            return None
        read = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        try:
            table = pj.read_json(pa.BufferReader(joined), read_options=read, parse_options=options)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return table if table.num_rows == len(values) else None

    def _parse_options(self, keys: Mapping[str, Iterable[str]]) -> pj.ParseOptions:
        fields = [(c.name, _json_type(c, keys.get(c.name, ()))) for c in self._definition.columns]
        return pj.ParseOptions(
            explicit_schema=pa.schema(fields),
            newlines_in_values=False,
            unexpected_field_behavior="error",
        )

    def _payload(self, tables: list[pa.Table]) -> list[pa.Array]:
        """The columns in their types; `tables` differ only in the fields of map columns."""
        arrays = []
        for column in self._definition.columns:
            chunks = [chunk for table in tables for chunk in table.column(column.name).chunks]
            if pa.types.is_map(column.type):
                chunks = [map_column(same) for same in _of_one_type(chunks)]
            array = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
            arrays.append(array.cast(column.type) if array.type != column.type else array)
        return arrays

    def _valid(self, payload: list[pa.Array]) -> NDArray[np.bool_]:
        valid = np.ones(len(payload[0]), dtype=bool)
        for column, array in zip(self._definition.columns, payload, strict=True):
            if column.required and array.null_count:
                valid &= _bools(array.is_valid())
            if pa.types.is_decimal(column.type):
                valid &= _digits_fit(array)
            elif pa.types.is_timestamp(column.type):
                valid &= _in_range(array)
            elif column.values:
                valid &= _bools(pc.is_in(array, value_set=self._allowed[column.name]))
        return valid

    def _no_rows(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema)

    def _rows(
        self, raw: RawBatch, payload: list[pa.Array], indices: NDArray[np.int64]
    ) -> pa.RecordBatch:
        provenance: list[NDArray[Any]] = [
            np.array(raw.partitions, dtype=np.int32),
            np.array(raw.offsets, dtype=np.int64),
            np.array(raw.timestamps_us, dtype=np.int64),
        ]
        if len(indices) < len(raw):
            provenance = [values[indices] for values in provenance]
        arrays = [
            *payload,
            pa.array(provenance[0]),
            pa.array(provenance[1]),
            pa.array(provenance[2]).view(TIMESTAMP_TYPE),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _rejects(
        self, raw: RawBatch, at: Sequence[int], reasons: Mapping[int, str]
    ) -> pa.RecordBatch:
        columns = {
            "topic": [self._definition.topic] * len(at),
            "_partition": [raw.partitions[i] for i in at],
            "_offset": [raw.offsets[i] for i in at],
            "_timestamp": [raw.timestamps_us[i] for i in at],
            "key": [raw.keys[i] for i in at],
            "value": [raw.values[i] for i in at],
            "reason": [reasons.get(i) or self._inspector.explain(raw.values[i]) for i in at],
        }
        return pa.RecordBatch.from_arrays(
            [pa.array(columns[f.name], f.type) for f in DEAD_SCHEMA], schema=DEAD_SCHEMA
        )


def _joined(values: Sequence[bytes | None]) -> bytes | None:
    """The values with newlines between them and nowhere else, or None if that cannot be."""
    try:
        joined = b"\n".join(values)  # type: ignore[arg-type]
        if not _separable(joined, len(values)):
            joined = b"\n".join([value.strip(WHITESPACE) for value in values])  # type: ignore[union-attr]
            if not _separable(joined, len(values)):
                return None
        if not joined.isascii():
            joined.decode()
    except (TypeError, UnicodeDecodeError):  # TypeError: a tombstone among them
        return None
    return joined


def _separable(joined: bytes, count: int) -> bool:
    """Whether newlines in `joined` stand between values only, and each value is in braces."""
    if joined[:1] != b"{" or joined[-1:] != b"}":
        return False
    characters = np.frombuffer(joined, np.uint8)
    newlines = np.concatenate(
        [
            start + np.flatnonzero(characters[start : start + _SCANNED_BYTES] == _NEWLINE)
            for start in range(0, len(characters), _SCANNED_BYTES)
        ]
    )
    return (
        len(newlines) == count - 1
        and bool((characters[newlines - 1] == _CLOSE).all())
        and bool((characters[newlines + 1] == _OPEN).all())
    )


def _json_type(column: Column, keys: Iterable[str]) -> pa.DataType:
    if pa.types.is_timestamp(column.type):
        return pa.int64()
    if pa.types.is_map(column.type):
        return pa.struct([(key, pa.string()) for key in keys])
    return column.type


def _of_one_type(chunks: list[pa.Array]) -> Iterator[pa.Array]:
    """Neighbours of the same type as one array."""
    for _, same in itertools.groupby(chunks, key=lambda chunk: chunk.type):
        yield pa.concat_arrays(same)


def _bools(array: pa.Array) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False)
    return values


def _digits_fit(array: pa.Array) -> NDArray[np.bool_]:
    """The parser checks the digits of the text, not those of the value after scaling."""
    nines, exponent = (9,) * array.type.precision, -array.type.scale
    low, high = (pa.scalar(Decimal((sign, nines, exponent)), array.type) for sign in (1, 0))
    return _between(array, low, high)


def _in_range(array: pa.Array) -> NDArray[np.bool_]:
    low, high = (pa.scalar(us, TIMESTAMP_TYPE) for us in TIMESTAMP_RANGE_US)
    return _between(array, low, high)


def _between(array: pa.Array, low: pa.Scalar, high: pa.Scalar) -> NDArray[np.bool_]:
    """Whether low <= value <= high; NULL is no other check's business and passes."""
    inside = pc.and_(pc.greater_equal(array, low), pc.less_equal(array, high))
    return _bools(inside.fill_null(True) if inside.null_count else inside)
