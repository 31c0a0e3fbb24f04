"""The maintenance of a sidecar: rounds on a thread of its own, beside the pipeline.

The thread has a low priority and keeps to its share of a core. All that it does on the committer's
thread is one commit of metadata for each compaction, between two flushes; a flush waits for that at
most. Whatever fails is tried again in the next round: nothing in here ends a sidecar.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from contract.errors import CancelledError, HighwaterError
from ingest.commit import FencedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contract.clock import Clock
    from contract.health import Figure
    from ingest.executor import Worker
    from ingest.maintenance.maintainer import Compacted, Maintainer

_LOG = logging.getLogger(__name__)
_SLICE_S = 0.2
_NICE = 10
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Time between rounds of compaction, between looks for unneeded files, and the bytes that one
    round puts together; a round with more to do is followed by the next at once.
    """

    interval_s: float
    collect_interval_s: float
    round_bytes: int


class Scheduler:
    """Rounds over these tables, first the rows'. `may_run` False: it pauses, also within a round.

    It is asked from the thread, often, and must not wait.
    """

    def __init__(
        self,
        maintainers: Sequence[Maintainer],
        schedule: Schedule,
        clock: Clock,
        may_run: Callable[[], bool],
    ) -> None:
        self._maintainers = maintainers
        self._schedule = schedule
        self._clock = clock
        self._may_run = may_run
        self._ending = threading.Event()
        self._collect_due_s = clock.monotonic_s() + schedule.collect_interval_s
        self._figures: Mapping[str, Figure] = {}
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes after one interval."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End it; a part of the work that is under way is not waited for any longer than that."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def figures(self) -> Mapping[str, Figure]:
        """What it did last, for people; any thread may ask. Empty before the first round."""
        return self._figures

    def may_go_on(self) -> bool:
        """Whether work that has begun should go on."""
        return not self._ending.is_set() and self._may_run()

    def round(self) -> bool:
        """One round over all tables; False if this sidecar must not maintain them any more."""
        collects = self._clock.monotonic_s() >= self._collect_due_s
        if collects:
            self._collect_due_s = self._clock.monotonic_s() + self._schedule.collect_interval_s
        problems: list[str] = []
        files: int | None = None
        for number, maintainer in enumerate(self._maintainers):
            try:
                done = self._maintain(maintainer, collects=collects)
            except FencedError as error:
                _LOG.warning("%s", error)
                return False
            except HighwaterError as error:
                _LOG.warning("maintenance of table %s: %s", maintainer.table.name, error)
                problems.append(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the pipeline goes on
                _LOG.exception("maintenance of table %s", maintainer.table.name)
                problems.append(type(error).__name__)
            else:
                problems += done.problems
                files = done.data_files if not number else files
        now = datetime.fromtimestamp(self._clock.wall_s(), UTC).isoformat(timespec="milliseconds")
        self._figures = {
            "last_maintenance_at": now,
            "data_files": files,
            "maintenance": "; ".join(problems) or "ok",
        }
        return True

    def _maintain(self, maintainer: Maintainer, *, collects: bool) -> Compacted:
        limit = self._schedule.round_bytes
        done = maintainer.compact(self.may_go_on, round_bytes=limit)
        while done.is_more_left and self.may_go_on():
            done = maintainer.compact(self.may_go_on, round_bytes=limit)
        if collects:
            maintainer.collect(self.may_go_on)
        return done

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # of this thread alone; where there is such a thing
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        due_s = self._clock.monotonic_s() + self._schedule.interval_s
        while not self._ending.wait(_SLICE_S):
            if self._clock.monotonic_s() < due_s or not self._may_run():
                continue
            if not self.round():
                return
            due_s = self._clock.monotonic_s() + self._schedule.interval_s


def in_turn(worker: Worker, may_wait: Callable[[], bool]) -> Callable[[Callable[[], T]], T]:
    """Runs a job on a worker, after what it has begun; CancelledError if that takes too long."""

    def turn(job: Callable[[], T]) -> T:
        future = worker.submit(job)
        while not wait([future], timeout=_SLICE_S).done:
            if not may_wait():
                raise CancelledError("a compaction was given up: the process ends, or must rest")
        return future.result()

    return turn
