"""Room for the tail's files: a directory of one's own, and what it means when it takes no more."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, BinaryIO

from contract.errors import OperatorError
from contract.health import Code, storage_code

if TYPE_CHECKING:
    from pathlib import Path


class FullError(Exception):
    """Nothing was written, and the text says why. `code`: the condition that this is."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def no_room(error: OSError) -> FullError:
    """Why a write found no room, or failed in another way."""
    code = storage_code(error)
    if code is Code.CATALOG_AWAY:  # whatever it is, it is the disk that does it
        code = Code.DISK_FAILING
    return FullError(
        code,
        f"the tail's files cannot be written ({_words(error)}): the tail goes on in memory for a "
        "while, then waits; nothing is lost",
    )


def locked(directory: Path, table: str) -> BinaryIO:
    """Make the directory and lock it; closing the file that is returned lets it go.

    Raises:
        OperatorError: another process has it, or it can't be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "lock").open("wb")
    except OSError as error:
        raise OperatorError(
            f"the tail's files cannot be made below --data-dir ({_words(error)})"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OperatorError(
            f"another server holds the tail files of table {table!r}: stop it, or give this one "
            "another data directory"
        ) from error
    return file


def _words(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO)
