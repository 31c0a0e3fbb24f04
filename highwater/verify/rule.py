"""The duplicate rule once more, followed row by row as docs/tables.md states it. Pure.

Written without a look at how the product computes it: a dictionary from id to where and when its
last row was kept. A test holds both against each other over random histories.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BEFORE_ALL_US = -(2**63)


class LaneRule:
    """The rule for one partition and lane."""

    def __init__(self, window_us: int, remembered_rows: int) -> None:
        self._window_us = window_us
        self._remembered_rows = remembered_rows
        self._clock_us = BEFORE_ALL_US  # newest timestamp of the kept rows
        self._kept = 0
        # id -> how many rows were kept before it, the clock then, its offset; oldest first
        self._last: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def judge(
        self,
        ids: Sequence[str],
        timestamps_us: Sequence[int],
        offsets: Sequence[int],
        known_kept: Sequence[bool],
    ) -> list[bool]:
        """Which of these next rows of the log are kept; those of `known_kept` are, unasked."""
        verdicts = []
        last, window_us, remembered = self._last, self._window_us, self._remembered_rows
        for message_id, timestamp_us, offset, known in zip(
            ids, timestamps_us, offsets, known_kept, strict=True
        ):
            clock_us = max(self._clock_us, timestamp_us)
            seen = last.get(message_id)
            if (
                seen is not None
                and not known
                and clock_us - seen[1] <= window_us
                and self._kept - seen[0] - 1 < remembered
            ):
                verdicts.append(False)
                continue
            if seen is not None:
                del last[message_id]
            last[message_id] = (self._kept, clock_us, offset)
            self._kept += 1
            self._clock_us = clock_us
            if len(last) > remembered:
                self._forget()
            verdicts.append(True)
        self._forget()
        return verdicts

    def remembered(self, next_offset: int) -> tuple[int, int]:
        """Offset and clock of the oldest kept row that still counts; a marker holds the same."""
        if not self._last:
            return next_offset, self._clock_us
        _, clock_us, offset = next(iter(self._last.values()))
        return offset, clock_us

    def _forget(self) -> None:
        """Drop rows that no later one can be a duplicate of."""
        while self._last:
            ordinal, clock_us, _ = next(iter(self._last.values()))
            still = self._clock_us - clock_us <= self._window_us
            if still and self._kept - ordinal <= self._remembered_rows:
                return
            self._last.popitem(last=False)
