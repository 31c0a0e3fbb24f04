"""Several data files into one, in a bounded part of memory: one row group at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from contract.errors import UnavailableError
from ingest.parquet_writer import FIELD_ID, OpenFile, Target, file_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyiceberg.manifest import DataFile

_BATCH_ROWS = 32_768


def fits(file: DataFile, target: Target) -> bool:
    """Whether a file has the table's present columns, by name, type and field id, and no others.

    Other files were written by somebody else, or under another schema: they stay as they are.
    """
    with _opened(target.table.io, file.file_path) as parquet:
        found = parquet.schema_arrow
    wanted = _schema(target)
    return len(found) == len(wanted) and all(map(_same, found, wanted))


def rewrite(
    files: Sequence[DataFile], target: Target, name: str, pause: Callable[[], None]
) -> DataFile:
    """One durable file with the rows of these, in their order; nothing is committed.

    `pause` is called after each part of the work; what it raises ends it, and the file is gone.

    Raises:
        UnavailableError: the files do not hold the rows that the manifests promise.
    """
    rows = sum(f.record_count for f in files)
    (day,) = {f.partition[0] for f in files}
    with OpenFile(target, day, name, rows, _schema(target)) as made:
        for group in _row_groups(files, target):
            made.write(group)
            pause()
        if made.rows != rows:
            raise UnavailableError(
                f"files of table {target.shape.name} hold {made.rows} rows where their manifests "
                f"say {rows}: check the table with `highwater verify`"
            )
    return made.data_file


def _same(found: pa.Field, wanted: pa.Field) -> bool:
    """By name, type, nullability and field id, nested ones too."""
    if not found.equals(wanted) or _field_id(found) != _field_id(wanted):
        return False
    return all(map(_same, _nested(found.type), _nested(wanted.type)))


def _nested(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(kind):
        return [kind.key_field, kind.item_field]
    return [kind.value_field] if pa.types.is_list(kind) else []


def _field_id(column: pa.Field) -> bytes | None:
    return (column.metadata or {}).get(FIELD_ID.encode())


def _row_groups(files: Sequence[DataFile], target: Target) -> Iterator[pa.Table]:
    size = target.shape.layout.row_group_rows
    waiting: list[pa.Table] = []
    rows = 0
    for batch in _batches(files, target.table.io):
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= size:
            together = pa.concat_tables(waiting)
            yield together.slice(0, size)
            waiting = [together.slice(size)]
            rows -= size
    if rows:
        yield pa.concat_tables(waiting)


def _batches(files: Sequence[DataFile], io: Any) -> Iterator[pa.Table]:
    for file in files:
        with _opened(io, file.file_path) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS, use_threads=False):
                yield pa.Table.from_batches([batch])


@contextmanager
def _opened(io: Any, path: str) -> Iterator[pq.ParquetFile]:
    with io.new_input(path).open() as stream, pq.ParquetFile(stream, pre_buffer=False) as parquet:
        yield parquet


def _schema(target: Target) -> pa.Schema:
    return file_schema(target.table.schema(), target.shape.columns)
