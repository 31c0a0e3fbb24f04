"""Orders for a sidecar that stands at a certain place: a file that the process looks for there.

The order is taken before it is carried out, so it strikes once, and not the process that comes
after. Production starts have no failpoints; only `highwater.audit.sidecar` passes this one.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KILL = "kill"
HALT = "halt"  # SIGSTOP
LOSE = "lose"  # what happened is not told

RESPONSE = "commit.response"  # the catalog has the commit, the sidecar does not know yet


class LostError(ConnectionError):
    """The answer of a call was lost on its way."""


class Script:
    """One process's file of orders; at most one order is under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = path.with_suffix(".taken")

    def order(self, place: str, action: str) -> None:
        """Have the process do that when it next reaches the place."""
        self._taken.unlink(missing_ok=True)
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{place} {action}")
        draft.replace(self._path)

    def taken(self) -> bool:
        """Whether the place was reached."""
        return self._taken.exists()

    def __call__(self, place: str) -> None:
        """The failpoint: the process is at this place."""
        try:
            ordered, action = self._path.read_text().split()
            if ordered != place:
                return
            self._path.replace(self._taken)
        except FileNotFoundError:
            return
        if action == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == HALT:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action == LOSE:
            raise LostError(f"the response was lost at {place}")
