"""The thread that follows the catalog: new snapshots become views, no statement waits for it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from contract.errors import BugError, HighwaterError, UnavailableError
from contract.health import NO_HEALTH, Code
from flight_server.lake.pointer import TableMissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.health import Health
    from flight_server.lake.snapshot import LakeSnapshot
    from flight_server.lake.table import LakeTable

_log = logging.getLogger(__name__)
_TROUBLES = (Code.NO_TABLE, Code.CATALOG_AWAY, Code.FAILED)


class Refresher:
    """Polls one live table and its dead letters, and hands what changed to `publish`."""

    def __init__(
        self,
        table: LakeTable,
        dead: LakeTable,
        publish: Callable[[LakeSnapshot, LakeSnapshot], None],
        interval_s: float,
        health: Health = NO_HEALTH,
    ) -> None:
        """While the table cannot be read the last view stays as it is, which is exact.

        A table without a marker is not read at all. No sidecar has said yet where it begins to
        copy the log; rows that were shown from an earlier offset might be gone when it does.
        """
        self._table = table
        self._dead = dead
        self._publish = publish
        self._interval_s = interval_s
        self._health = health
        self._stop = threading.Event()
        self._seen: tuple[LakeSnapshot, LakeSnapshot] | None = None
        self._complaint = ""
        self.absent = ""  # why the table was never read; empty once it was

    def step(self) -> None:
        """Look once. The main table first: the dead letters are then at least as new."""
        try:
            now = (self._table.refresh(), self._dead.refresh())
            if now[0].marker is None:
                raise TableMissingError(
                    f"no sidecar has taken over table {now[0].table!r} yet: "
                    "start `highwater ingest`"
                )
        except HighwaterError as error:
            if str(error) != self._complaint:
                _log.warning("the table cannot be refreshed: %s", error)
            self._complain(error)
            if self._seen is None:
                self.absent = self._complaint
            return
        if self._complaint:
            self._complaint = ""
            self._health.clear(*_TROUBLES)
        if self._seen is None or now[0] is not self._seen[0] or now[1] is not self._seen[1]:
            self._publish(*now)
            self._seen = now
            self.absent = ""

    def run(self) -> None:
        """Look again and again until `stop`."""
        while not self._stop.is_set():
            try:
                self.step()
            except Exception:  # noqa: BLE001 (a thread that dies would freeze every view)
                _log.exception("the refresher goes on after an error of its own")
                self._complain(BugError("the refresher failed; the log says where"))
            self._stop.wait(self._interval_s)

    def _complain(self, error: HighwaterError) -> None:
        self._complaint = str(error)
        code = Code.FAILED
        if isinstance(error, TableMissingError):
            code = Code.NO_TABLE
        elif isinstance(error, UnavailableError):
            code = Code.CATALOG_AWAY
        self._health.clear(*(c for c in _TROUBLES if c is not code))
        self._health.set(code, self._complaint)

    def stop(self) -> None:
        """End `run` soon; returns at once."""
        self._stop.set()
