"""The auditor's own view of the catalog: SQLite and metadata files, by the standard library."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.marker import MARKER_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from highwater.audit.judge import Knowledge

_POINTER = "select metadata_location from iceberg_tables where table_name = ?"
_PERIOD_S = 0.05
_FILE = "file://"
NORMAL = "NORMAL"


@dataclass(frozen=True, slots=True)
class Head:
    """The table's current snapshot; what its own marker says, if it has one."""

    snapshot_id: int | None = None
    epoch: int = 0
    commit_id: str = ""
    progress: int = 0  # all next offsets together
    spread: int = 0  # how far the lanes are apart, over all partitions
    level: str = NORMAL  # of the breaker


class CatalogReader:
    """Follows the table of the rows; one thread. `head` and `commits` may be read by any."""

    def __init__(self, database: Path, knowledge: Knowledge) -> None:
        self._database = database
        self._knowledge = knowledge
        self._location = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catalog reader", daemon=True)
        self._look = threading.Lock()
        self.head = Head()
        self.commits = 0  # heads with a marker of their own seen so far

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def refresh(self) -> None:
        """Look now. A catalog that cannot be read now is read with the next look."""
        with self._look:
            try:
                location = self._pointer()
                if location == self._location:
                    return
                metadata = json.loads(Path(location.removeprefix(_FILE)).read_bytes())
            except (sqlite3.Error, OSError, LookupError):
                return
            self._location = location
            with self._knowledge.lock:
                self._knowledge.lineage.learn(metadata)
            self._take(metadata)

    def _take(self, metadata: Mapping[str, Any]) -> None:
        snapshot_id = metadata.get("current-snapshot-id")
        for snapshot in metadata.get("snapshots", ()):
            if snapshot["snapshot-id"] == snapshot_id:
                marker = json.loads(snapshot.get("summary", {}).get(MARKER_KEY, "{}"))
                commit_id = marker.get("commit_id", "")
                if commit_id and commit_id != self.head.commit_id:
                    self.commits += 1
                following = marker.get("next", {}).values()
                self.head = Head(
                    snapshot_id,
                    marker.get("epoch", 0),
                    commit_id,
                    sum(sum(lanes) for lanes in following),
                    sum(max(lanes) - min(lanes) for lanes in following),
                    marker.get("level", NORMAL),
                )

    def _pointer(self) -> str:
        address = f"file:{self._database}?mode=ro"
        with closing(sqlite3.connect(address, timeout=0.05, uri=True)) as connection:
            (location,) = connection.execute(_POINTER, ("trades",)).fetchone() or ("",)
        if not location:
            raise LookupError("there is no table yet")
        return str(location)

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_S):
            self.refresh()
