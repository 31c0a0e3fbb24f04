"""Plans of texts that were planned a moment ago, for those who ask again over the same views.

A driver that prepares has its statement planned twice within a millisecond, and many clients ask
the same; views change some hundred times a second under load, and never in a table at rest.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pyarrow as pa
    from datafusion import DataFrame

    from flight_server.query.pin import Pin
    from flight_server.query.statement import Statement
    from flight_server.query.types import LakeView

_ENTRIES_MAX = 64
_KEEP_S = 1.0  # a plan keeps its views in memory


@dataclass(frozen=True, slots=True)
class Planned:
    """A statement that was planned: it can be run any number of times."""

    statement: Statement
    frame: DataFrame
    schema: pa.Schema  # of the answer


class PlanMemory:
    """Key -> plan, for the newest keys and not for long; thread-safe."""

    def __init__(self, entries_max: int = _ENTRIES_MAX, keep_s: float = _KEEP_S) -> None:
        self._entries_max = entries_max
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[float, Planned]] = OrderedDict()

    def recall(self, key: Hashable, pin: Pin, now_s: float) -> Planned | None:
        """A plan that read exactly the views that `pin` has."""
        with self._lock:
            since_s, planned = self._entries.get(key, (0.0, None))
        if planned is None or now_s - since_s > self._keep_s:
            return None
        return planned if _same(planned.statement.views_read(), pin.available()) else None

    def keep(self, key: Hashable, planned: Planned, now_s: float) -> None:
        """Remember it, in place of what was kept for longest."""
        with self._lock:
            self._entries[key] = (now_s, planned)
            self._entries.move_to_end(key)
            if len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)

    def purge(self, now_s: float) -> None:
        """Let the old ones go; for a timer."""
        with self._lock:
            for key, (since_s, _) in list(self._entries.items()):
                if now_s - since_s > self._keep_s:
                    del self._entries[key]


def _same(read: Mapping[str, LakeView], views: Mapping[str, LakeView]) -> bool:
    return all(views.get(name) is view for name, view in read.items())
