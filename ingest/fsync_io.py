"""PyIceberg's file access, made durable: what a catalog points to is on disk before it points.

PyIceberg itself never syncs a file, while the SQLite catalog does: after a power cut the catalog
would name bytes that are gone, with their offsets counted as read. Object stores are durable when
a write returns, so only local files are treated.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import pyarrow as pa
    from pyiceberg.io import InputFile, OutputFile, OutputStream

IO_IMPL = f"{__name__}.DurableFileIO"
_LOCAL = "file"


class DurableFileIO(PyArrowFileIO):
    """A FileIO whose local files, and the directories that name them, are synced on close.

    Manifests are never deleted: PyIceberg does so when a catalog reports a conflict, but behind a
    gateway that repeats requests a conflict may be the answer to a commit that landed. What is
    left over is for a garbage collector, which knows what is referenced.
    """

    @override
    def new_output(self, location: str) -> PyArrowFile:
        """See `FileIO`."""
        scheme, netloc, path = self.parse_location(location, self.properties)
        filesystem = self.fs_by_scheme(scheme, netloc)
        kind = _DurableFile if scheme == _LOCAL else PyArrowFile
        return kind(location=location, path=path, fs=filesystem)

    @override
    def delete(self, location: str | InputFile | OutputFile) -> None:
        """See `FileIO`; does nothing for a manifest or manifest list."""
        text = location if isinstance(location, str) else location.location
        if not text.endswith(".avro"):
            super().delete(location)


class _DurableFile(PyArrowFile):
    @override
    def create(self, overwrite: bool = False) -> OutputStream:
        path = Path(self._path)
        known = next(parent for parent in path.parents if parent.exists())
        return _SyncedStream(super().create(overwrite), path, known)


class _SyncedStream:
    """A stream whose `close` returns when file and name are durable.

    A file that could not be written to its end is removed: nobody knows of it yet, and on a full
    disk what every new attempt leaves behind would be in the way of the one that succeeds.

    `known`: the nearest directory that existed before; those below it are new names themselves.
    """

    def __init__(self, stream: Any, path: Path, known: Path) -> None:
        self._stream: pa.NativeFile = stream
        self._path = path
        self._known = known
        self._is_whole = True

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def write(self, b: bytes) -> int:
        with self._or_removed():
            return int(self._stream.write(b))

    def flush(self) -> None:
        self._stream.flush()

    def tell(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        if self._stream.closed:
            return
        with self._or_removed():
            self._stream.close()
            if self._is_whole:
                self._sync()

    def __enter__(self) -> _SyncedStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_whole = self._is_whole and kind is None
        self.close()
        if not self._is_whole:
            self._path.unlink(missing_ok=True)

    def _sync(self) -> None:
        _sync(self._path)
        for directory in self._path.parents:
            _sync(directory)
            if directory == self._known:
                break

    @contextmanager
    def _or_removed(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._is_whole = False
            self._path.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
