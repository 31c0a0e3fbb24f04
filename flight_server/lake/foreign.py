"""Rows of a table that no log has: another tool appended them, under partitions of its own.

No cut speaks of them, so whoever asks for an earlier cut again must be told which of them were
there. They are few, if there are any: their places are read once for each file that may have some,
by its bounds, and kept.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.table import OFFSET, PARTITION, PROVENANCE, TIMESTAMP
from flight_server.cut.receipt import NO_OTHERS, Others

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray
    from pyiceberg.io import FileIO

    from flight_server.lake.snapshot import DataFiles

_LOG = logging.getLogger(__name__)

ROWS_MAX = 65_536  # beyond, rows of others are not told apart
FILES_MAX = 256  # that may hold some; each is read once


@dataclass(frozen=True, eq=False)
class ForeignRows:
    """Their places in the table; integers of shape (rows,), in order."""

    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    timestamps_us: NDArray[np.int64]

    @cached_property
    def everything(self) -> Others:
        """All of them, as every receipt over this snapshot has it."""
        if not len(self.partitions):
            return NO_OTHERS
        found = np.unique(self.partitions).tolist()
        return self.below({p: int(self.offsets[self.partitions == p].max()) + 1 for p in found})

    def below(self, following: Mapping[int, int]) -> Others:
        """Those below these offsets; of other partitions none."""
        chosen = np.zeros(len(self.partitions), bool)
        for partition, end in following.items():
            chosen |= (self.partitions == partition) & (self.offsets < end)
        if not chosen.any():
            return Others(dict(following), 0, "")
        digest = hashlib.sha256()
        for column in (self.partitions, self.offsets, self.timestamps_us):
            digest.update(column[chosen].astype("<i8").tobytes())
        return Others(dict(following), int(chosen.sum()), digest.hexdigest()[:16])


NO_FOREIGN = ForeignRows(*(np.empty(0, np.int64) for _ in PROVENANCE))


class ForeignReader:
    """Finds them snapshot after snapshot; for one thread. Remembers what is in files that stay.

    Places are tables of partition, offset and broker timestamp.
    """

    def __init__(self) -> None:
        self._places: dict[str, pa.Table] = {}

    def rows(self, io: FileIO, files: DataFiles, known: Collection[int]) -> ForeignRows | None:
        """The rows of these files whose partition is not `known`; None: too many to tell apart."""
        suspects = files.table.filter(_suspects(files, known))
        paths = suspects["path"].to_pylist()
        if len(paths) > FILES_MAX:
            return None
        try:
            self._places = {p: self._of_file(io, p, known) for p in paths}
        except (OSError, pa.ArrowException) as error:
            _LOG.warning("rows of other writers cannot be told apart: %s", type(error).__name__)
            return None
        if sum(t.num_rows for t in self._places.values()) > ROWS_MAX:
            return None
        return _in_order(self._places) if paths else NO_FOREIGN

    def _of_file(self, io: FileIO, path: str, known: Collection[int]) -> pa.Table:
        if path in self._places:
            return self._places[path]
        with io.new_input(path).open() as stream, pq.ParquetFile(stream) as file:
            groups = [g for g in range(file.num_row_groups) if _may_have(file.metadata, g, known)]
            found = []
            for group in groups:
                rows = file.read_row_group(group, columns=list(PROVENANCE)).select(PROVENANCE)
                known_here = pc.is_in(rows[PARTITION], pa.array(sorted(known), pa.int32()))
                found.append(rows.filter(pc.invert(known_here)))
                if sum(t.num_rows for t in found) > ROWS_MAX:
                    break
        return pa.concat_tables(found) if found else _nothing()


def _suspects(files: DataFiles, known: Collection[int]) -> pa.BooleanArray:
    """Files that may hold rows of other partitions than 0 to the greatest known one."""
    bounds = files.bounds(PARTITION)
    if bounds is None:
        return pa.repeat(pa.scalar(True), len(files))
    outside = pc.or_(
        pc.less(bounds.lower, 0), pc.greater(bounds.upper, pa.scalar(max(known, default=-1)))
    )
    return pc.fill_null(outside, True)


def _may_have(metadata: pq.FileMetaData, group: int, known: Collection[int]) -> bool:
    columns = metadata.row_group(group)
    for i in range(columns.num_columns):
        column = columns.column(i)
        if column.path_in_schema != PARTITION:
            continue
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return bool(statistics.min < 0 or statistics.max > max(known, default=-1))
    return False  # a file without the column has no place for its rows


def _in_order(places: Mapping[str, pa.Table]) -> ForeignRows:
    rows = pa.concat_tables(places.values())
    keys = [(name, "ascending") for name in (PARTITION, OFFSET, TIMESTAMP)]
    rows = rows.sort_by(keys)
    return ForeignRows(
        *(np.asarray(rows[name].cast(pa.int64()).to_numpy(), np.int64) for name in PROVENANCE)
    )


def _nothing() -> pa.Table:
    types = (pa.int32(), pa.int64(), pa.timestamp("us", "UTC"))
    return pa.schema(list(zip(PROVENANCE, types, strict=True))).empty_table()
