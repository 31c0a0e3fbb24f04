"""Faults of one kind: the sidecar's process ends at once, somewhere, and another one goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from highwater.audit.field import DEADLINE_S, UnprovenError
from highwater.audit.script import KILL, RESPONSE

if TYPE_CHECKING:
    from highwater.audit.field import Field

_COMPACTING = ("writing", "before_commit", "after_commit")
_COMPACTION_S = 120.0  # it needs some files


def kill_sidecar(field: Field) -> None:
    """SIGKILL at any moment."""
    field.sleep(field.some(0, 1))
    field.stack.sidecar.kill()
    next_sidecar(field)


def kill_before_write(field: Field) -> None:
    """SIGKILL with rows in memory and no file."""
    _kill_at(field, "rows.before_write")


def kill_before_commit(field: Field) -> None:
    """SIGKILL between the files and their commit."""
    _kill_at(field, "rows.before_commit")


def kill_after_commit(field: Field) -> None:
    """SIGKILL after the commit, before anything in the process knows."""
    _kill_at(field, RESPONSE)


def kill_in_compaction(field: Field) -> None:
    """SIGKILL while the sidecar puts files together; what is left over must go away."""
    _kill(field, f"compaction.{field.rng.choice(_COMPACTING)}", _COMPACTION_S)
    left = field.tool.orphans()
    next_sidecar(field)
    field.wait(lambda: not any(path.exists() for path in left), "its files were not removed")


def next_sidecar(field: Field) -> None:
    """Start another one, until it commits."""
    field.stack.start_sidecar()
    field.committing()


def _kill_at(field: Field, place: str) -> None:
    _kill(field, place, DEADLINE_S)
    next_sidecar(field)


def _kill(field: Field, place: str, deadline_s: float) -> None:
    sidecar = field.stack.sidecar
    field.stack.script.order(place, KILL)
    missed = f"the sidecar did not come to {place}"
    field.wait(lambda: sidecar.exit_code() is not None, missed, deadline_s)
    if sidecar.exit_code() != -signal.SIGKILL:
        raise UnprovenError(f"the sidecar ended with {sidecar.exit_code()}: {sidecar.last_words()}")
