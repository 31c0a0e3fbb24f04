"""File descriptors of the process: as many as it may have, and a word when there are none."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

from contract.health import Code

if TYPE_CHECKING:
    from contract.health import Health

_LIMIT = resource.RLIMIT_NOFILE


def raise_limit() -> None:
    """Take as many as the system allows: the soft limit is often 1024, the hard one far above."""
    _, hard = resource.getrlimit(_LIMIT)
    resource.setrlimit(_LIMIT, (hard, hard))


def check(health: Health) -> None:
    """Try whether one is free, and set or clear the condition."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        soft, _ = resource.getrlimit(_LIMIT)
        health.set(
            Code.OUT_OF_DESCRIPTORS,
            f"no file descriptor is free (limit {soft}): raise the limit of open files (ulimit -n)",
        )
    else:
        health.clear(Code.OUT_OF_DESCRIPTORS)
