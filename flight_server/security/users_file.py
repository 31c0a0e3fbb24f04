"""The users' file on disk: read by the server, changed by `highwater user`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import OperatorError
from flight_server.security.users import Users, parse_users, render_users
from flight_server.security.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.clock import Clock

FLAG = "--users-file"


def watched_users(path: Path, clock: Clock) -> Watched[Users]:
    """The users as they are now. Raises OperatorError for a missing, open or wrong file."""
    return Watched(FLAG, path, parse_users, clock, private=True)


def read_users(path: Path, clock: Clock) -> Users:
    """The users of the file; none if there is no file yet."""
    return watched_users(path, clock).current() if path.exists() else Users()


def change_users(path: Path, clock: Clock, change: Callable[[Users], Users]) -> None:
    """Replace the file by what `change` makes of it, of mode 0600, whole or not at all."""
    with _alone(path):
        content = render_users(change(read_users(path, clock)))
        number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
        try:
            with os.fdopen(number, "wb") as file:  # mkstemp gives mode 0600
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder's lock; the file itself is replaced, so a lock on it would be lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
    except OSError as error:
        raise OperatorError(f"{FLAG} {path}: {error.strerror}") from error
