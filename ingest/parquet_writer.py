"""Rows into Parquet files with the layout of the definition, one file per day.

PyIceberg's own writer can set neither page index nor bloom filters nor per-column encodings; its
statistics and its description of a file (`DataFile`) are used as they are, with one correction:
Parquet leaves out the bounds of a row group whose values are long (a text over 4 KiB), and bounds
collected from the other row groups alone would make readers skip the file wrongly.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.typedef import Record
from pyiceberg.types import IcebergType, ListType, MapType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from ingest.iceberg_schema import TableShape

_DAY_US = 86_400_000_000
FIELD_ID = "PARQUET:field_id"
_PAGE_ROWS = 20_000
_BLOOM_FALSE_POSITIVES = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go: a loaded table, as the library describes it."""

    table: Table
    shape: TableShape


def write_files(rows: pa.Table, target: Target, name: str) -> list[DataFile]:
    """One durable file per day that occurs in `rows`; nothing is committed.

    `name` is unique among all files of the table, and begins their names. All or none: if one
    can't be written, those before it are removed.
    """
    schema = target.table.schema()
    arrow_schema = file_schema(schema, rows.schema)
    files: list[DataFile] = []
    try:
        for i, (day, part) in enumerate(_by_day(rows, target.shape.day_of)):
            part_name = f"{name}-{i:05d}.parquet"
            with OpenFile(target, day, part_name, part.num_rows, arrow_schema) as part_file:
                part_file.write(part)
            files.append(part_file.data_file)
    except BaseException:
        for file in files:
            with suppress(OSError):
                target.table.io.delete(file.file_path)
        raise
    return files


def _by_day(rows: pa.Table, column: str) -> Iterator[tuple[int, pa.Table]]:
    """(days since the epoch, rows of that day), each in the order of `rows`."""
    micros = rows.column(column).cast(pa.int64()).to_numpy()
    days = np.floor_divide(micros, _DAY_US)
    distinct = np.unique(days)
    if len(distinct) == 1:
        yield int(distinct[0]), rows
        return
    order = np.argsort(days, kind="stable")
    ends = np.searchsorted(days[order], distinct, side="right")
    start = 0
    for day, end in zip(distinct, ends, strict=True):
        yield int(day), rows.take(pa.array(order[start:end]))
        start = end


def file_schema(schema: Schema, columns: pa.Schema) -> pa.Schema:
    """The Arrow schema of `columns` with Iceberg's field ids and names of nested fields."""
    return pa.schema(
        [
            _field(
                f.name, _with_ids(columns.field(f.name).type, f.field_type), f.field_id, f.required
            )
            for f in schema.fields
        ]
    )


def _with_ids(kind: pa.DataType, iceberg: IcebergType) -> pa.DataType:
    if isinstance(iceberg, ListType):
        element = _with_ids(kind.value_type, iceberg.element_type)
        return pa.list_(_field("element", element, iceberg.element_id, iceberg.element_required))
    if isinstance(iceberg, MapType):
        key = _with_ids(kind.key_type, iceberg.key_type)
        value = _with_ids(kind.item_type, iceberg.value_type)
        return pa.map_(
            _field("key", key, iceberg.key_id, required=True),
            _field("value", value, iceberg.value_id, iceberg.value_required),
        )
    return kind


def _field(name: str, kind: pa.DataType, field_id: int, required: bool) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={FIELD_ID: str(field_id)})


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same values under another schema; only the types of nested columns differ."""
    columns = []
    for wanted in schema:
        column = rows.column(wanted.name)
        columns.append(column if column.type == wanted.type else column.cast(wanted.type))
    return pa.Table.from_arrays(columns, schema=schema)


def writer_options(shape: TableShape, rows: int) -> dict[str, Any]:
    """Arguments of `pq.ParquetWriter` for a file of so many rows in this layout."""
    layout = shape.layout
    # A filter takes its full size however few values it holds: 160 KiB for a whole row group.
    values = max(1, min(rows, layout.row_group_rows))
    blooms = {name: {"ndv": values, "fpp": _BLOOM_FALSE_POSITIVES} for name in layout.bloom}
    return {
        "compression": "zstd",
        "use_dictionary": list(layout.dictionary) or False,
        "column_encoding": dict.fromkeys(layout.delta, "DELTA_BINARY_PACKED") or None,
        "write_page_index": True,
        "write_batch_size": _PAGE_ROWS,
        "store_decimal_as_integer": True,
        **({"bloom_filter_options": blooms} if blooms else {}),
    }


class OpenFile:
    """One file of one day, written in parts; complete and durable when its `with` has ended.

    If that ends by an exception the file is gone. `rows`: how many will come in all.
    """

    def __init__(self, target: Target, day: int, name: str, rows: int, schema: pa.Schema) -> None:
        """`name`: see `write_files`. `schema`: see `file_schema`."""
        table = target.table
        self._target = target
        self._day = day
        spec = table.spec()
        key = PartitionKey([PartitionFieldValue(spec.fields[0], day)], spec, table.schema())
        self.path = table.location_provider().new_data_location(name, key)
        self._output = table.io.new_output(self.path)
        self._schema = schema
        self._options = writer_options(target.shape, rows)
        self.rows = 0

    def __enter__(self) -> OpenFile:
        with ExitStack() as stack:
            stream = stack.enter_context(self._output.create())
            writer = pq.ParquetWriter(stream, self._schema, **self._options)
            self._writer = stack.enter_context(writer)
            self._open = stack.pop_all()
        return self

    def write(self, rows: pa.Table) -> None:
        """Add rows; each call begins a row group."""
        size = self._target.shape.layout.row_group_rows
        self._writer.write_table(_as(rows, self._schema), row_group_size=size)
        self.rows += rows.num_rows

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def data_file(self) -> DataFile:
        """Its description, once it is complete."""
        table = self._target.table
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.path,
            file_format=FileFormat.PARQUET,
            partition=Record(self._day),
            file_size_in_bytes=len(self._output),
            sort_order_id=None,
            spec_id=table.spec().spec_id,
            equality_ids=None,
            key_metadata=None,
            **file_statistics(self._writer.writer.metadata, table.schema(), table.properties),
        )


def file_statistics(
    metadata: pq.FileMetaData, schema: Schema, properties: dict[str, str]
) -> dict[str, Any]:
    """Counts, sizes and bounds of a file for its manifest entry; no bound that is not one."""
    paths = parquet_path_to_id_mapping(schema)
    statistics = data_file_statistics_from_parquet_metadata(
        metadata, compute_statistics_plan(schema, properties), paths
    ).to_serialized_dict()
    for field_id in _unbounded(metadata, paths):
        statistics["lower_bounds"].pop(field_id, None)
        statistics["upper_bounds"].pop(field_id, None)
    return statistics


def _unbounded(metadata: pq.FileMetaData, paths: dict[str, int]) -> set[int]:
    """Columns that have values in a row group for which Parquet gives no minimum and maximum."""
    found = set()
    for group in range(metadata.num_row_groups):
        for position in range(metadata.num_columns):
            column = metadata.row_group(group).column(position)
            statistics = column.statistics
            all_null = statistics is not None and statistics.num_values == 0
            if not all_null and (statistics is None or not statistics.has_min_max):
                found.add(paths[column.path_in_schema])
    return found
