"""The data files of a snapshot, read from its manifests and kept as columns.

Manifests never change, so each is decoded once; a new snapshot then costs its manifest list and
the manifests that it added. What the engine's scan cannot honour (delete files, other formats) is
refused here: a scan that ignored it would return wrong rows.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.manifest import (
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestFile,
    read_manifest_list,
)

from contract.errors import UnsupportedError
from flight_server.lake.bounds import decode_bounds
from flight_server.lake.paths import url_of
from flight_server.lake.snapshot import DataFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile

CACHE_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BoundedColumn:
    """A top-level column whose bounds are kept, and the type in which they are."""

    field_id: int
    name: str
    kind: pa.DataType


@dataclass(frozen=True, slots=True)
class FileColumns:
    """What a manifest is decoded for.

    `identity_sources`: partition spec id -> field ids of its identity partition columns, whose
    values a file may lack because they stand in its partition.
    """

    schema_id: int
    bounded: tuple[BoundedColumn, ...]
    identity_sources: Mapping[int, frozenset[int]]


class ManifestReader:
    """Reads manifests through a cache; for one thread.

    The cache holds at most `cache_bytes_max`; beyond it the manifests that were not used for the
    longest time are forgotten, and decoded again when a snapshot still has them.
    """

    def __init__(self, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._cache: OrderedDict[tuple[str, int], DataFiles] = OrderedDict()
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max

    def files(self, io: FileIO, manifest_list: str, columns: FileColumns) -> DataFiles:
        """All data files of the snapshot with this manifest list.

        Raises:
            UnsupportedError: it has delete files, or files that the engine would not read right.
            OSError: the manifest list or a manifest cannot be read.
        """
        parts = []
        for manifest in read_manifest_list(io.new_input(manifest_list)):
            if not (manifest.has_added_files() or manifest.has_existing_files()):
                continue
            if manifest.content != ManifestContent.DATA:
                raise UnsupportedError(
                    "its snapshot has delete files, which the engine does not apply: rewrite the "
                    "table's data files without them (compaction)"
                )
            parts.append(self._decoded(io, manifest, columns))
        return DataFiles.concat(parts)

    def _decoded(self, io: FileIO, manifest: ManifestFile, columns: FileColumns) -> DataFiles:
        key = (manifest.manifest_path, columns.schema_id)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        entries = [e.data_file for e in manifest.fetch_manifest_entry(io)]
        identity = columns.identity_sources.get(manifest.partition_spec_id, frozenset())
        for file in entries:
            _check(file, identity)
        files = _columns_of(entries, columns.bounded)
        self._remember(key, files)
        return files

    def _remember(self, key: tuple[str, int], files: DataFiles) -> None:
        self._cache[key] = files
        self._cache_bytes += files.table.nbytes
        while self._cache_bytes > self._cache_bytes_max:
            _, oldest = self._cache.popitem(last=False)
            self._cache_bytes -= oldest.table.nbytes


def _check(file: DataFile, identity_sources: frozenset[int]) -> None:
    if file.content != DataFileContent.DATA:
        raise UnsupportedError("a manifest of data files lists a delete file")
    if file.file_format != FileFormat.PARQUET:
        raise UnsupportedError(f"it has a data file of format {file.file_format}, not Parquet")
    if identity_sources - (file.value_counts or {}).keys():
        raise UnsupportedError(
            "a data file may lack a column that stands only in its partition value: rewrite the "
            "table's data files (compaction)"
        )


def _columns_of(files: Sequence[DataFile], bounded: Sequence[BoundedColumn]) -> DataFiles:
    lower = [f.lower_bounds or {} for f in files]
    upper = [f.upper_bounds or {} for f in files]
    nulls = [f.null_value_counts or {} for f in files]
    bounds = {
        c.name: (
            decode_bounds(c.kind, [b.get(c.field_id) for b in lower]),
            decode_bounds(c.kind, [b.get(c.field_id) for b in upper]),
            pa.array([n.get(c.field_id) for n in nulls], pa.int64()),
        )
        for c in bounded
    }
    paths = [f.file_path for f in files]
    return DataFiles.of(
        paths,
        [url_of(p) for p in paths],
        [f.record_count for f in files],
        [f.file_size_in_bytes for f in files],
        bounds,
    )
