"""A table's directory as it is: every file in it, and the ledger of those that nothing needs."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO

from contract.errors import UnsupportedError
from contract.table import OFFSET, PARTITION
from ingest.maintenance.orphans import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyarrow.fs import FileInfo
    from pyiceberg.table import Table

    from ingest.maintenance.orphans import Lowest

_LOG = logging.getLogger(__name__)
_LEDGER = "metadata/highwater-unneeded.json"
_FORMAT = 1
_ELSEWHERE = ("write.data.path", "write.metadata.path", "write.object-storage.enabled")


class TableDirectory:
    """Names are relative to the table's location. Failures of the storage are OSError."""

    def __init__(self, table: Table) -> None:
        """Raises UnsupportedError if the table's files lie elsewhere."""
        if found := [key for key in _ELSEWHERE if key in table.properties]:
            raise UnsupportedError(f"its files may lie elsewhere (property {found[0]})")
        assert isinstance(table.io, PyArrowFileIO)
        self._io = table.io
        scheme, netloc, root = self._io.parse_location(table.location().rstrip("/"))
        self._root = root.rstrip("/") + "/"
        self._fs = self._io.fs_by_scheme(scheme, netloc)

    def files(self) -> list[StoredFile]:
        """All files there are."""
        selector = FileSelector(self._root.rstrip("/"), recursive=True)
        return [self._stored(i) for i in self._fs.get_file_info(selector) if _is_file(i)]

    def find(self, name: str) -> StoredFile | None:
        """One file."""
        info = self._fs.get_file_info(self._root + name)
        return self._stored(info) if _is_file(info) else None

    def name_of(self, location: str) -> str | None:
        """The name of a file that metadata or a manifest points to; None if it lies elsewhere."""
        path = self._io.parse_location(location)[2]
        return path.removeprefix(self._root) if path.startswith(self._root) else None

    def lowest(self, name: str) -> Lowest:
        """Of a data file. See `Lowest`."""
        try:
            with self._fs.open_input_file(self._root + name) as stream:
                return _lowest(pq.ParquetFile(stream))
        except pa.ArrowInvalid:
            return None
        except (OSError, KeyError):
            return {}  # damaged, or not like ours

    def remove(self, name: str) -> None:
        """Remove a file; fine if it is gone."""
        try:
            self._fs.delete_file(self._root + name)
        except FileNotFoundError:
            return

    def ledger(self) -> dict[str, float]:
        """Since when each file is known to be unneeded; empty if nobody has noted it."""
        try:
            with self._fs.open_input_stream(self._root + _LEDGER) as stream:
                stored = json.loads(stream.read())
            if stored["format"] != _FORMAT:
                return {}
            return {str(name): float(since_s) for name, since_s in stored["unneeded"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError):
            _LOG.warning("the ledger of unneeded files cannot be read: their grace begins anew")
            return {}

    def note(self, unneeded_since_s: Mapping[str, float]) -> None:
        """Write the ledger."""
        stored = {"format": _FORMAT, "unneeded": dict(sorted(unneeded_since_s.items()))}
        with self._fs.open_output_stream(self._root + _LEDGER) as stream:
            stream.write(json.dumps(stored).encode())

    def _stored(self, info: FileInfo) -> StoredFile:
        return StoredFile(info.path.removeprefix(self._root), info.size, info.mtime_ns / 1e9)


def _is_file(info: FileInfo) -> bool:
    return bool(info.type == FileType.File)


def _lowest(parquet: pq.ParquetFile) -> dict[int, int]:
    found: dict[int, int] = {}
    for batch in _places(parquet):
        partitions, offsets = batch.column(PARTITION).to_numpy(), batch.column(OFFSET).to_numpy()
        for partition in np.unique(partitions).tolist():
            lowest = int(offsets[partitions == partition].min())
            found[partition] = min(lowest, found.get(partition, lowest))
    return found


def _places(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    if {PARTITION, OFFSET} <= set(parquet.schema_arrow.names):
        yield from parquet.iter_batches(columns=[PARTITION, OFFSET], use_threads=False)
