"""Every file of a scan must be there: the engine skips a missing one without an error."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Protocol

from contract.errors import BugError, UnavailableError
from flight_server.lake.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flight_server.lake.snapshot import DataFiles

_log = logging.getLogger(__name__)


class FileCheck(Protocol):
    """Looks at files where they are stored; called from many threads at once."""

    def sizes_bytes(self, paths: Sequence[str]) -> list[int | None]:
        """The size of each file as it is now, None if it is not there or is not a file."""
        ...


class LocalFileCheck:
    """Files of this machine: about 2 us each."""

    def sizes_bytes(self, paths: Sequence[str]) -> list[int | None]:
        """The size of each file as it is now.

        Raises:
            BugError: a path is not one of this machine.
        """
        return [_local_size_bytes(path) for path in paths]


def verify_files(files: DataFiles, check: FileCheck) -> None:
    """Fail unless every file is there with exactly the size that the manifest says.

    Call it when the *physical* plan was made and before its result is used: planning is when the
    engine drops missing files; one that vanishes later is an error while reading.

    Raises:
        UnavailableError: a file is missing or changed.
    """
    paths = files.paths.to_pylist()
    found = check.sizes_bytes(paths)
    wrong = [
        (path, expected, size)
        for path, expected, size in zip(paths, files.sizes_bytes.to_pylist(), found, strict=True)
        if size != expected
    ]
    if not wrong:
        return
    for path, expected, size in wrong[:10]:
        _log.error("data file %s: %s bytes expected, %s found", path, expected, size)
    raise UnavailableError(
        f"{len(wrong)} of {len(paths)} data files of the snapshot are missing or changed, so the "
        "answer would lack rows: try again; if it stays, restore the files (the log names them)"
    )


def _local_size_bytes(path: str) -> int | None:
    local = local_path(path)
    if local is None:
        raise BugError("files of an object store need a check of their own")
    try:
        status = os.stat(local)  # noqa: PTH116 (a Path object costs more than the call)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
