"""The filters that the plan of a text had the last time: a guess that saves a planning."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flight_server.lake.prune import FiltersByScan

_ENTRIES_MAX = 256
_TEXT_CHARS_MAX = 16_384  # a longer text is planned twice each time


class FilterMemory:
    """Text -> filters by scan, for the texts that were asked last; thread-safe.

    What it recalls need not hold any more: a statement that was planned with it must be checked.
    """

    def __init__(self, entries_max: int = _ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._filters: OrderedDict[str, FiltersByScan] = OrderedDict()

    def recall(self, sql: str) -> FiltersByScan | None:
        """The filters that were kept for exactly this text."""
        with self._lock:
            if sql not in self._filters:
                return None
            self._filters.move_to_end(sql)
            return self._filters[sql]

    def keep(self, sql: str, filters: FiltersByScan) -> None:
        """Remember them; the text that was not asked for the longest time is forgotten."""
        if len(sql) > _TEXT_CHARS_MAX:
            return
        with self._lock:
            self._filters[sql] = filters
            self._filters.move_to_end(sql)
            if len(self._filters) > self._entries_max:
                self._filters.popitem(last=False)
