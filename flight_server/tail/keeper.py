"""The tail's second thread: seals, removes, and asks the broker, so that following never waits.

`Keeper.step` does at most one slow thing of each kind. What the follower must know of it stands in
`LogHealth`, whose fields are each written by the keeper alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import HighwaterError, OperatorError
from contract.health import NO_HEALTH, Code
from flight_server.tail.room import FullError
from flight_server.tail.trouble import recreated

if TYPE_CHECKING:
    from contract.clock import Clock
    from contract.health import Health
    from contract.log import LogSource
    from flight_server.tail.files import TailFiles
    from flight_server.view import ViewPublisher

_LOG = logging.getLogger(__name__)
_NO_ROOM = frozenset({Code.TAIL_FULL, Code.DISK_FULL, Code.DISK_FAILING, Code.OUT_OF_DESCRIPTORS})


@dataclass(slots=True)
class LogHealth:
    """What the keeper found out; times are monotonic seconds."""

    partitions: tuple[int, ...] = ()
    answered_at_s: float = float("-inf")
    failing_since_s: float | None = None
    failure: str = ""
    full: str = ""  # why the last attempt to seal found no room; empty: it found some


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How often the broker is asked, and how soon a full disk is tried again."""

    ends_period_s: float = 1.0  # each partition's end once in this time, evenly spread
    identity_period_s: float = 10.0
    identity_retry_s: float = 1.0
    missing_checks: int = 3  # so often in a row must the topic be missing to be gone
    full_retry_s: float = 1.0


class Keeper:
    """Keeps the tail of one table in files, and its knowledge of the log up to date.

    `log`: of the same topic as the follower's, but another one: it is used by another thread.
    """

    def __init__(
        self,
        log: LogSource,
        publisher: ViewPublisher[Any],
        files: TailFiles,
        clock: Clock,
        health: LogHealth,
        limits: KeeperLimits | None = None,
        conditions: Health = NO_HEALTH,
    ) -> None:
        self._source = log
        self._publisher = publisher
        self._files = files
        self._clock = clock
        self._health = health
        self._limits = limits or KeeperLimits()
        self._conditions = conditions
        self._ends: dict[int, int] = {}
        self._asked_s: dict[int, float] = {}
        self._turn = 0
        self._next_ends_s = self._next_identity_s = self._next_seal_s = clock.monotonic_s()
        self._missing = 0

    def step(self) -> bool:
        """Do what is due; whether a segment was sealed."""
        for dropped in self._publisher.take_dropped():
            self._files.remove(dropped.number, dropped.lane)
            self._next_seal_s = self._clock.monotonic_s()
        sealed = self.seal()
        self._ask_broker()
        return sealed

    def seal(self, *, everything: bool = False) -> bool:
        """Seal one segment if it is time (`everything`: whatever is open); whether it did."""
        if self._publisher.index() is None or self._clock.monotonic_s() < self._next_seal_s:
            return False
        with self._files.busy:
            closing = self._publisher.close_segments(everything=everything)
            if not closing:
                self._has_room()
                return False
            try:
                sealed = self._files.seal(closing, self._publisher.topic_id, self._publisher.gaps)
            except FullError as error:
                self._no_room(error)
                return False
            self._has_room()
            if not self._publisher.on_sealed(closing, sealed) and sealed.number is not None:
                self._files.remove(sealed.number, None)
        return True

    def _no_room(self, error: FullError) -> None:
        self._health.full = str(error)
        self._conditions.clear(*(_NO_ROOM - {error.code}))
        self._conditions.set(error.code, str(error))
        self._next_seal_s = self._clock.monotonic_s() + self._limits.full_retry_s

    def _has_room(self) -> None:
        if self._health.full:
            self._health.full = ""
            self._conditions.clear(*_NO_ROOM)

    def _ask_broker(self) -> None:
        now_s = self._clock.monotonic_s()
        try:
            if now_s >= self._next_identity_s:
                self._next_identity_s = now_s + self._limits.identity_retry_s
                self._check_identity()
                self._next_identity_s = now_s + self._limits.identity_period_s
            elif now_s >= self._next_ends_s and self._health.partitions:
                count = len(self._health.partitions)
                self._next_ends_s = now_s + self._limits.ends_period_s / count
                self._check_end(self._health.partitions[self._turn % count])
                self._turn += 1
            else:
                return
        except HighwaterError as error:
            self._health.failure = str(error)
            self._conditions.set(Code.BROKER_AWAY, str(error))
            if self._health.failing_since_s is None:
                self._health.failing_since_s = now_s
            return
        self._health.answered_at_s = self._clock.monotonic_s()
        self._health.failing_since_s = None
        self._conditions.clear(Code.BROKER_AWAY)

    def _check_identity(self) -> None:
        expected = self._publisher.topic_id
        try:
            found = self._source.topic_id()
            self._health.partitions = tuple(self._source.partitions())
        except OperatorError as error:
            self._missing += 1
            if expected and self._missing >= self._limits.missing_checks:
                self._publisher.on_broken(str(error))
            raise
        self._missing = 0
        if expected and found != expected:
            _LOG.warning("topic %s has the id %s, it had %s", self._source.topic, found, expected)
            self._publisher.on_broken(recreated(self._source.topic, found, expected))

    def _check_end(self, partition: int) -> None:
        asked_s = self._clock.monotonic_s()
        self._ends[partition] = self._source.bounds(partition)[1]
        self._asked_s[partition] = asked_s
        self._publisher.on_ends(self._ends, self._asked_s)
