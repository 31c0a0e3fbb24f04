"""Several tables, each of its own topic, in one real sidecar and one real server.

What a test looks at is seen twice: in the tail, while the sidecar is held, and in the lake after
its commit. Rows, dead letters and cut must be the same in both.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.settings import CommonSettings
from ingest.iceberg_table import open_catalog
from tests.support.stack import Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_DEFINITION = """
name = "{name}"
topic = "{name}"
message_id = "id"
event_time = "at"
columns = [
  {{name = "id", type = "string", required = true}},
  {{name = "at", type = "timestamp", required = true}},
]
lanes = []
[duplicates]
window_s = 60
"""
_PLACE = "SELECT _partition, _offset, _timestamp, id FROM "
INGEST = ("--flush-interval-s=0.1", "--topic-check-s=0.3")
SERVE = ("--lagging-s=0.2",)

Row = Mapping[str, Any]


def event(event_id: str) -> bytes:
    """A good message of any of these tables."""
    return json.dumps({"id": event_id, "at": 1_700_000_000_000_000}).encode()


def ids(rows: Sequence[Row]) -> list[str]:
    return [row["id"] for row in rows]


def places(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Partitions and offsets."""
    return [(row["_partition"], row["_offset"]) for row in rows]


@dataclass(frozen=True)
class Seen:
    """One table as one statement each saw it; `table`: of the rows' receipt."""

    rows: list[dict[str, Any]]
    dead: list[dict[str, Any]]
    table: dict[str, Any]


class LiveTables:
    """Tables named as their topics, which exist already."""

    def __init__(self, folder: Path, bootstrap: str, names: Sequence[str]) -> None:
        files = tuple(folder / f"{name}.toml" for name in names)
        for file in files:
            file.write_text(_DEFINITION.format(name=file.stem))
        self.stack = Stack(folder, bootstrap, names[0], tables=files)
        self._folder = folder

    def start_ingest(self, *flags: str) -> None:
        self.stack.start("ingest", *INGEST, *flags)

    def start_serve(self) -> None:
        self.stack.start("serve", *SERVE)

    def hold(self) -> None:
        """From now on nothing is committed, until `release`."""
        self.stack.halt("ingest")

    def release(self) -> None:
        self.stack.signal("ingest", signal.SIGCONT)

    def see(self, name: str) -> Seen | None:
        """The table now; None while there is no answer."""
        rows = f"{_PLACE}{name}_history UNION ALL {_PLACE}{name}_tail ORDER BY 1, 2"
        dead = f"SELECT *, md5(value) AS md5 FROM {name}_dead ORDER BY _partition, _offset"
        if self.stack.try_ask("SELECT 1") is None:
            return None
        try:
            answer, receipt = self.stack.answer(rows)
            return Seen(answer, self.stack.ask(dead), receipt["tables"][name])
        except Exception:  # noqa: BLE001 - whatever the driver raises: asked again
            self.stack.disconnect()
            return None

    def see_at(self, name: str, cut: Mapping[int, int], part: str = "cut") -> Seen:
        """The table once its cut (`part` lake: what is committed) is exactly this."""
        wanted = {str(p): {"HIGH": o, "MEDIUM": o, "LOW": o} for p, o in cut.items()}

        def reached() -> Seen | None:
            seen = self.see(name)
            return seen if seen is not None and seen.table[part] == wanted else None

        found: Seen = wait_until(
            reached, lambda: f"{name} is not at {cut} but {self.see(name)}; {self.stack.logs()}"
        )
        return found

    def see_twice(self, name: str, cut: Mapping[int, int]) -> Seen:
        """The table at this cut, with what was not committed in the tail; then the same in the
        lake. The sidecar is held when this is called, and free afterwards."""
        in_tail = self.see_at(name, cut)
        assert in_tail.table["lake"] != in_tail.table["cut"], "nothing was left in the tail"
        self.release()
        in_lake = self.see_at(name, cut, "lake")
        assert in_lake.rows == in_tail.rows
        assert in_lake.dead == in_tail.dead
        assert in_lake.table["cut"] == in_tail.table["cut"]
        return in_lake

    def wait_complete(self, name: str) -> Seen:
        """The table once its receipt says that nothing more is in the log."""

        def complete() -> Seen | None:
            seen = self.see(name)
            good = seen is not None and seen.table["state"] == "complete"
            return seen if good and seen is not None and not seen.table["lag_messages"] else None

        found: Seen = wait_until(complete, lambda: f"never complete: {self.see(name)}")
        return found

    def markers(self, name: str) -> list[dict[str, Any]]:
        """Those of all commits, oldest first."""
        catalog = open_catalog(CommonSettings(data_dir=self._folder / "data"))
        try:
            snapshots = catalog.load_table(f"public.{name}").metadata.snapshots
        finally:
            catalog.close()
        texts = [s.summary["highwater.marker"] for s in snapshots if s.summary is not None]
        return [json.loads(text) for text in texts if text]

    def gaps(self, name: str) -> list[dict[str, Any]]:
        return self.stack.ask(
            "SELECT partition, from_offset, to_offset, reason FROM system.gaps "
            f"WHERE \"table\" = '{name}'"
        )

    def stop(self) -> None:
        self.stack.stop()
