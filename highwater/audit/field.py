"""What a fault may touch, and how it waits for its effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from highwater.audit.stack import TOPIC

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from threading import Event

    from contract.clock import Clock
    from highwater.audit.catalog_reader import CatalogReader
    from highwater.audit.foreign import ForeignTool
    from highwater.audit.judge import Knowledge
    from highwater.audit.ledger import Ledger
    from highwater.audit.processes import Process
    from highwater.audit.stack import Stack

_POLL_S = 0.02
_NEWEST = 3  # snapshots; a walk through their ancestry takes longer with every commit
DEADLINE_S = 90.0


class UnprovenError(Exception):
    """A fault did not have the effect that it must have."""


class StoppedError(Exception):
    """The audit is being stopped."""


@dataclass(frozen=True, slots=True)
class Field:
    """The stack and what is known of it. For the injector's thread."""

    stack: Stack
    knowledge: Knowledge
    ledger: Ledger
    catalog: CatalogReader
    tool: ForeignTool
    clock: Clock
    rng: Random
    stopping: Event

    def wait(self, check: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Until the check holds. Raises UnprovenError with `what` when the time is over."""
        until_s = self.clock.monotonic_s() + deadline_s
        while not check():
            if self.stopping.is_set():
                raise StoppedError
            if self.clock.monotonic_s() > until_s:
                raise UnprovenError(f"{what} within {deadline_s:g} s")
            self.clock.sleep(_POLL_S)

    def sleep(self, duration_s: float) -> None:
        """Let it run so long."""
        if self.stopping.wait(duration_s):
            raise StoppedError

    def some(self, from_s: float, to_s: float) -> float:
        """A duration between these."""
        return self.rng.uniform(from_s, to_s)

    def progress(self) -> int:
        """How far the table has come."""
        self.catalog.refresh()
        return self.catalog.head.progress

    def committing(self) -> None:
        """Until the sidecar of now has committed rows of the log."""
        before = self.progress()
        sidecar = self.stack.sidecar
        self.wait(lambda: self.progress() > before or _ended(sidecar), "the sidecar did not commit")
        if _ended(sidecar):
            raise UnprovenError(
                f"the sidecar ended with {sidecar.exit_code()}: {sidecar.last_words()}"
            )

    def answering(self) -> None:
        """Until an answer has come that was not under way before."""
        now_s = self.clock.monotonic_s()
        self.wait(lambda: self.ledger.last_answer_s > now_s, "no answer came")
        server = self.stack.server
        if _ended(server):
            raise UnprovenError(f"the server ended: {server.last_words()}")

    def reading(self) -> None:
        """Until messages of the log have come that were not there before."""
        positions = self.knowledge.log.positions
        before = sum(positions.values())
        self.wait(lambda: sum(positions.values()) > before, f"nothing came from topic {TOPIC}")

    def covered(self, snapshot_id: int) -> None:
        """Until an answer over that snapshot, or one that descends from it, was compared."""

        def seen() -> bool:
            with self.knowledge.lock:
                return any(
                    self.knowledge.lineage.descends(s, snapshot_id)
                    for s in self.ledger.recent_snapshots()[-_NEWEST:]
                )

        self.wait(seen, f"no answer covered snapshot {snapshot_id}")


def _ended(process: Process) -> bool:
    return process.exit_code() is not None
