"""A disk that is full when a test says so: a real small file system, or writes that fail.

`disk_kind` probes once whether this machine lets us mount. Where it does not, processes are given
a limit of file size instead, and code in this process fails at the adapter: every test runs
everywhere, and the injected failures are always tested as well.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import resource
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

from pyiceberg.io.pyarrow import PyArrowFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

_LIMIT_BYTES = 4096  # smaller than any file that holds something


class Disk(Protocol):
    """A folder whose file system can be filled and emptied while somebody works in it."""

    folder: Path

    def fill(self) -> None:
        """From now on a write fails."""
        ...

    def free(self) -> None:
        """There is room again."""
        ...


class MountedDisk:
    """A tmpfs of its own; `fill` takes what is left of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        size = os.statvfs(self.folder)
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while True:  # to the last byte
                ballast.write(bytes(size.f_bsize))

    def free(self) -> None:
        self._ballast.unlink()


class LimitedProcess:
    """Any folder, for one process whose files may not grow while the disk is `full`."""

    def __init__(self, folder: Path, pid: Callable[[], int]) -> None:
        self.folder = folder
        self._pid = pid

    def fill(self) -> None:
        hard = resource.prlimit(self._pid(), resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._pid(), resource.RLIMIT_FSIZE, (_LIMIT_BYTES, hard))

    def free(self) -> None:
        hard = resource.prlimit(self._pid(), resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._pid(), resource.RLIMIT_FSIZE, (hard, hard))


class InjectedDisk:
    """Any folder, for code of this process: the sidecar's files take a few bytes, then no more."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._room: float = math.inf  # for so many further files
        real: Any = PyArrowFile.create
        disk = self

        def create(file: Any, overwrite: bool = False) -> Any:
            disk._room -= 1
            stream = real(file, overwrite)
            return stream if disk._room >= 0 else _FullStream(stream)

        monkeypatch.setattr(PyArrowFile, "create", create)

    def fill(self) -> None:
        self.fill_after(files=0)

    def fill_after(self, files: int) -> None:
        """So many files find room, the next one does not."""
        self._room = files

    def free(self) -> None:
        self._room = math.inf


class _FullStream:
    """A file that takes two bytes of what is written, as a file system that runs full does."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        self._stream.write(memoryview(data)[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@functools.cache
def can_mount() -> bool:
    """Whether this machine lets us mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        )
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)
    return mounted.returncode == 0


@contextlib.contextmanager
def mounted(folder: Path, size_mib: int) -> Iterator[MountedDisk]:
    """A tmpfs at this folder, gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mib}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield MountedDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
