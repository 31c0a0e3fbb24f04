"""The duplicate rule once more, row by row, as docs/decisions/0005 words it. Pure."""

from __future__ import annotations

from typing import NamedTuple


class _Kept(NamedTuple):
    number: int  # of the kept row in its partition and lane
    clock_us: int


class DuplicateRule:
    """One partition and lane: a row is a duplicate iff a kept row before it has the same id, the
    broker clock went on by no more than the window since, and fewer than so many rows were kept
    since. The clock is the newest timestamp of the kept rows and of the row itself.
    """

    def __init__(self, window_us: int, rows: int) -> None:
        self._window_us = window_us
        self._rows = rows
        self._clock_us: int | None = None
        self._kept = 0
        self._last: dict[str, _Kept] = {}

    def keeps(self, message_id: str, timestamp_us: int) -> bool:
        """Whether the next row is kept."""
        clock_us = timestamp_us if self._clock_us is None else max(self._clock_us, timestamp_us)
        last = self._last.get(message_id)
        if (
            last is not None
            and clock_us - last.clock_us <= self._window_us
            and self._kept - last.number - 1 < self._rows
        ):
            return False
        self._clock_us = clock_us
        self._last[message_id] = _Kept(self._kept, clock_us)
        self._kept += 1
        return True
