"""A result as text or bytes: an aligned table, CSV, JSON or an Arrow stream."""

from __future__ import annotations

import datetime
import itertools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

if TYPE_CHECKING:
    from collections.abc import Iterator

_CELL_MAX = 60  # characters of one cell of a table; the other formats never cut


def write(reader: pa.RecordBatchReader, form: str, target: BinaryIO, max_rows: int) -> None:
    """Write all of a result in one of the forms table, csv, json, arrow.

    All but the table are written batch by batch; the table holds at most `max_rows`.
    """
    if form == "table":
        target.write(_table(reader, max_rows).encode())
    elif form == "csv":
        _csv(reader, target)
    elif form == "json":
        _json(reader, target)
    else:
        with pa.ipc.new_stream(target, reader.schema) as stream:
            for batch in reader:
                stream.write_batch(batch)


def _table(reader: pa.RecordBatchReader, max_rows: int) -> str:
    kept: list[pa.RecordBatch] = []
    total = 0
    for batch in reader:
        kept.append(batch.slice(0, max(0, max_rows - total)))
        total += batch.num_rows
    table = pa.Table.from_batches(kept, reader.schema)
    count = f"({total:,} row{'' if total == 1 else 's'}"
    cut = f", {max_rows:,} shown: --max-rows, or another --format)" if total > max_rows else ")"
    return aligned(table) + count + cut + "\n"


def aligned(table: pa.Table) -> str:
    """A table as text: a header, a rule, one line per row; numbers to the right."""
    columns = [
        [name, *(_cell(value) for value in column.to_pylist())]
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [_is_number(field.type) for field in table.schema]
    lines = []
    for row in range(table.num_rows + 1):
        cells = zip(columns, widths, numeric, strict=True)
        texts = [c[row].rjust(width) if right else c[row].ljust(width) for c, width, right in cells]
        lines.append("  ".join(texts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines) + "\n"


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else _text(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 1] + "…"


def _text(value: object) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return value.hex() if isinstance(value, bytes) else str(value)


def _csv(reader: pa.RecordBatchReader, target: BinaryIO) -> None:
    schema = pa.schema([(field.name, _flat(field.type)) for field in reader.schema])
    with pa_csv.CSVWriter(target, schema) as writer:
        for batch in reader:
            columns = [
                column
                if column.type == field.type
                else pa.array([None if v is None else _text(v) for v in column.to_pylist()])
                for column, field in zip(batch.columns, schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _flat(kind: pa.DataType) -> pa.DataType:
    """What CSV can hold: nested values and bytes become text."""
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_binary(kind) else kind


def _json(reader: pa.RecordBatchReader, target: BinaryIO) -> None:
    """A JSON array, one row per line; decimals and times as text, so that nothing is rounded."""
    rows: Iterator[dict[str, Any]] = itertools.chain.from_iterable(
        batch.to_pylist() for batch in reader
    )
    between = b"[\n"
    for row in rows:
        target.write(between + json.dumps(row, default=_plain, ensure_ascii=False).encode())
        between = b",\n"
    target.write(b"\n]\n" if between == b",\n" else b"[]\n")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime.datetime) else _text(value)
