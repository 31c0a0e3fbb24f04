"""The duplicate rule: which rows of the log are repetitions of an earlier one.

Rows of one partition and lane are taken in log order. The *broker clock* at a row is the newest
`_timestamp` of the kept rows before it and of the row itself, so it never goes back. A row is a
duplicate iff a kept row before it has the same message id, the clock has advanced by no more than
the window since that row was kept, and fewer than `remembered_rows` rows were kept after it.

What must be remembered is therefore always a suffix of the kept rows. Its first offset and the
clock there (`Remembered`) travel in the marker of every commit: the rows from that offset on,
read back from the lake, rebuild the state exactly. No order of batching, committing or restarting
changes which rows are kept, in either process.
"""

from __future__ import annotations

from array import array
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from contract.table import LANES, OFFSET, PARTITION, TIMESTAMP, TableDefinition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

CLOCK_START_US = -(2**63)


class Remembered(NamedTuple):
    """Where the remembered suffix of one partition and lane starts."""

    from_offset: int
    clock_us: int  # broker clock at the row of that offset


RememberedByLane = tuple[Remembered, ...]  # index = Lane


class DuplicateWindow:
    """The rule for one partition and lane; remembers at most `remembered_rows` ids."""

    def __init__(
        self, window_us: int, remembered_rows: int, clock_us: int = CLOCK_START_US
    ) -> None:
        self._window_us = window_us
        self._remembered_rows = remembered_rows
        self._clock_us = clock_us
        self._ordinals: dict[str, int] = {}  # id -> ordinal of its kept row, oldest first
        self._clocks: array[int] = array("q")  # broker clock at each remembered row
        self._offsets: array[int] = array("q")
        self._first = 0  # ordinal of the oldest remembered row

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._ordinals)

    def remembered(self, next_offset: int) -> Remembered:
        """Where the remembered suffix starts, for a reader that stands before `next_offset`."""
        if not self._offsets:
            return Remembered(next_offset, self._clock_us)
        return Remembered(self._offsets[0], self._clocks[0])

    def keep(
        self,
        ids: Sequence[str],
        timestamps_us: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which of these next rows of the log are kept, shape (rows,)."""
        if self._ordinals.keys().isdisjoint(ids) and len(set(ids)) == len(ids):
            self.append(ids, timestamps_us, offsets)
            return np.ones(len(ids), dtype=bool)
        return self._keep_row_by_row(ids, timestamps_us, offsets)

    def append(
        self,
        ids: Sequence[str],
        timestamps_us: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> None:
        """Remember these next rows, which are known to be kept; no id stands twice in them."""
        if len(ids) == 0:
            return
        clocks = np.maximum(np.maximum.accumulate(timestamps_us), self._clock_us)
        ordinal = self._first + len(self._clocks)
        self._ordinals.update(zip(ids, range(ordinal, ordinal + len(ids)), strict=True))
        self._clocks.frombytes(clocks.astype(np.int64, copy=False).tobytes())
        self._offsets.frombytes(offsets.astype(np.int64, copy=False).tobytes())
        self._clock_us = int(clocks[-1])
        self._forget()

    def _forget(self) -> None:
        """Drop what no later row can be a duplicate of."""
        clocks = np.frombuffer(self._clocks, dtype=np.int64)
        expired = int(np.searchsorted(clocks, self._clock_us - self._window_us, side="left"))
        drop = max(expired, len(clocks) - self._remembered_rows)
        del clocks  # a view on an array that is about to shrink
        if drop <= 0:
            return
        oldest = list(islice(self._ordinals, drop))
        deque(map(self._ordinals.__delitem__, oldest), maxlen=0)
        del self._clocks[:drop]
        del self._offsets[:drop]
        self._first += drop

    def _is_duplicate(self, message_id: str, timestamp_us: int) -> bool:
        ordinal = self._ordinals.get(message_id)
        if ordinal is None:
            return False
        clock_us = max(self._clock_us, timestamp_us)
        return self._clocks[ordinal - self._first] >= clock_us - self._window_us

    def _keep_row_by_row(
        self,
        ids: Sequence[str],
        timestamps_us: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """The rule as it is written: taken only where a batch holds an id that was seen."""
        kept = np.ones(len(ids), dtype=bool)
        run_start = 0
        run: set[str] = set()
        for i, message_id in enumerate(ids):
            if message_id in run or message_id in self._ordinals:
                pending = slice(run_start, i)
                self.append(ids[pending], timestamps_us[pending], offsets[pending])
                run.clear()
                run_start = i
                if self._is_duplicate(message_id, int(timestamps_us[i])):
                    kept[i] = False
                    run_start = i + 1
                    continue
                # The row is kept, so the clock moves, and that makes room for its own old id.
                self._clock_us = max(self._clock_us, int(timestamps_us[i]))
                self._forget()
            run.add(message_id)
        self.append(ids[run_start:], timestamps_us[run_start:], offsets[run_start:])
        return kept


class DuplicateFilter:
    """The rule over all partitions and lanes of one table."""

    def __init__(self, definition: TableDefinition) -> None:
        self._definition = definition
        self._windows: dict[tuple[int, int], DuplicateWindow] = {}

    def keep(self, rows: pa.RecordBatch, lanes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which rows are kept, shape (rows,).

        `rows` has the stored schema and is in log order within each partition; `lanes` is
        `lanes_of` it.
        """
        kept = np.ones(rows.num_rows, dtype=bool)
        for window, at, ids, timestamps_us, offsets in self._by_window(rows, lanes):
            kept[at] = window.keep(ids, timestamps_us, offsets)
        return kept

    def start(self, remembered: Mapping[int, RememberedByLane]) -> None:
        """Forget everything and stand where a marker's `remembered` says; `append` comes next."""
        self._windows = {
            (partition, lane): self._new_window(start.clock_us)
            for partition, by_lane in remembered.items()
            for lane, start in enumerate(by_lane)
        }

    def append(self, rows: pa.RecordBatch, lanes: NDArray[np.int8]) -> None:
        """Remember rows that were kept before: `_offset` >= `from_offset`, in log order.

        Needs the columns `message_id`, `_partition`, `_offset` and `_timestamp` only.
        """
        for window, _, ids, timestamps_us, offsets in self._by_window(rows, lanes):
            window.append(ids, timestamps_us, offsets)

    def remembered(self, partition: int, next_offsets: Sequence[int]) -> RememberedByLane:
        """For the marker: where the remembered suffix of each lane starts.

        `next_offsets`: by lane, where each stands.
        """
        return tuple(
            self._window(partition, lane).remembered(next_offset)
            for lane, next_offset in enumerate(next_offsets)
        )

    def remembered_rows(self) -> int:
        """How many ids are remembered over all partitions and lanes."""
        return sum(len(w) for w in self._windows.values())

    def _by_window(
        self, rows: pa.RecordBatch, lanes: NDArray[np.int8]
    ) -> list[
        tuple[
            DuplicateWindow,
            NDArray[np.int64],
            list[str],
            NDArray[np.int64],
            NDArray[np.int64],
        ]
    ]:
        ids = rows.column(self._definition.message_id)
        offsets = rows.column(OFFSET).to_numpy()
        timestamps_us = rows.column(TIMESTAMP).cast(pa.int64()).to_numpy()
        partitions = rows.column(PARTITION).to_numpy().astype(np.int64)
        groups = partitions * len(LANES) + lanes
        order = np.argsort(groups, kind="stable")
        texts = ids.take(pa.array(order)).to_pylist()
        offsets, timestamps_us = offsets[order], timestamps_us[order]
        found, starts = np.unique(groups[order], return_index=True)
        bounds = [*starts.tolist(), len(order)]
        parts = []
        for group, start, end in zip(found.tolist(), bounds, bounds[1:], strict=False):
            window = self._window(group // len(LANES), group % len(LANES))
            mine = slice(start, end)
            parts.append((window, order[mine], texts[mine], timestamps_us[mine], offsets[mine]))
        return parts

    def _window(self, partition: int, lane: int) -> DuplicateWindow:
        window = self._windows.get((partition, lane))
        if window is None:
            window = self._windows[partition, lane] = self._new_window(CLOCK_START_US)
        return window

    def _new_window(self, clock_us: int) -> DuplicateWindow:
        definition = self._definition
        return DuplicateWindow(definition.duplicate_window_us, definition.duplicate_rows, clock_us)
