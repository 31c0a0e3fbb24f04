"""The follower: reads the log's end into the tail, batch by batch.

`step` is one round: begin (anew) where that is asked for, poll, decode, drop duplicates, publish.
It waits nowhere but in the poll, and for room when the tail's open part is full. Everything that
goes wrong ends in one of three ways:

- the log can't be read just now, or not further (broker gone, disk cap, retention gap): the views
  stay exact, their cut stops, and their state says `stalled` with the reason;
- what the tail holds may not be what the table means (topic made again, log truncated, table of
  another definition): `on_broken`, no view until a start succeeds;
- the table went back below the tail: the publisher asks for a start, which reads the log again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from contract.duplicates import DuplicateFilter
from contract.errors import HighwaterError, OperatorError, UnavailableError
from contract.lanes import lanes_of
from contract.log import LogProblem, Trouble
from contract.table import LANES, OFFSET, PARTITION
from flight_server.tail.chunk import Segment, open_segment
from flight_server.tail.columns import filter_rows, integers, tail_schema
from flight_server.tail.index import TailIndex, TailLimits
from flight_server.tail.pace import FollowerLimits
from flight_server.tail.trouble import Troubles, deleted, require_same, truncated
from flight_server.tail.warm import fitting, seed
from flight_server.tail.watermarks import dead_watermarks, gaps_of, watermarks
from flight_server.view import LakeLike, ViewPublisher

if TYPE_CHECKING:
    from contract.clock import Clock
    from contract.decode import Decoder
    from contract.log import Fetched, LogSource
    from contract.marker import NextOffsets
    from contract.table import TableDefinition
    from flight_server.tail.files import TailFiles
    from flight_server.tail.keeper import LogHealth

L = TypeVar("L", bound=LakeLike)

# Rows of this lake snapshot from these offsets on, per partition and lane: message id, provenance
# and the columns of the lane rules; in any order, more rows do no harm.
SeedRows = Callable[[L, "NextOffsets"], Iterable[pa.RecordBatch]]


class Follower:
    """Follows one topic for one table. Used by one thread."""

    def __init__(
        self,
        definition: TableDefinition,
        log: LogSource,
        decoder: Decoder,
        publisher: ViewPublisher[L],
        files: TailFiles,
        seed_rows: SeedRows[L],
        clock: Clock,
        health: LogHealth,
        limits: FollowerLimits | None = None,
        tail_limits: TailLimits | None = None,
    ) -> None:
        self._definition = definition
        self._schema = tail_schema(definition)
        self._source = log
        self._decoder = decoder
        self._publisher: ViewPublisher[Any] = publisher
        self._files = files
        self._seed_rows: SeedRows[Any] = seed_rows
        self._clock = clock
        self._health = health
        self._limits = limits or FollowerLimits()
        self._tail_limits = tail_limits or TailLimits()
        self._duplicates = DuplicateFilter(definition)
        self._started = False
        self._retry_at_s = float("-inf")
        self._hi: dict[int, int] = {}
        self._first = np.empty((0, len(LANES)), dtype=np.int64)  # lower offsets were seen before
        self._troubles = Troubles(self._limits.stalled_after_s)
        self._came = 0  # messages of the last poll

    def step(self) -> int:
        """One round; returns how many messages it read."""
        if not self._is_following():
            return 0
        if not self._has_room():
            self._clock.sleep(self._limits.poll_s)
            return 0
        self._follow_new_partitions()
        wait_s = self._limits.wait_s(self._came)
        fetched = self._source.poll(self._limits.poll_messages, wait_s)
        self._came = len(fetched.messages)
        self._take_in(fetched)
        now_s = self._clock.monotonic_s()
        self._troubles.note(fetched.problems, now_s)
        if self._troubles.replaced:
            self._publisher.on_broken(self._troubles.replaced)
            self.restart()
        elif self._troubles.out_of_range:
            self._look_at_positions()
        self._publisher.on_stall(self._troubles.why_stalled(now_s, self._health))
        return self._came

    def restart(self) -> None:
        """Begin anew with the next step that is not too soon."""
        self._started = False
        self._retry_at_s = self._clock.monotonic_s() + self._limits.retry_s

    # --- starting

    def _is_following(self) -> bool:
        if self._started and not self._publisher.restart_wanted():
            return True
        self._started = False
        lake = self._publisher.lake()
        if lake is None or self._clock.monotonic_s() < self._retry_at_s:
            self._clock.sleep(self._limits.poll_s)
            return False
        try:
            self._start(*lake)
        except HighwaterError as error:
            self._publisher.on_broken(str(error))
            self.restart()
            return False
        self._started = True
        return True

    def _start(self, lake: LakeLike, dead: LakeLike | None) -> None:
        topic_id = self._source.topic_id()
        partitions = self._source.partitions()
        marker = lake.marker
        if marker is not None:
            require_same(marker, self._source.topic, topic_id, self._definition)
        known = marker.next if marker is not None else {}
        origin = {
            p: self._source.bounds(p)[0] if marker is None else 0
            for p in partitions
            if p not in known
        }
        next_offsets = watermarks(marker, origin, origin)
        dead_next = dead_watermarks(dead)
        with self._files.busy:
            found = self._files.load(topic_id, self._clock.monotonic_s(), gaps_of(marker))
            kept, positions = fitting(found, next_offsets, dead_next)
            self._require_in_range(positions)
            for segment in found:
                if segment not in kept and segment.number is not None:
                    self._files.remove(segment.number, None)
            remembered = marker.remembered if marker is not None else {}
            starts = {p: tuple(r.from_offset for r in rs) for p, rs in remembered.items()}
            rows = self._seed_rows(lake, starts) if starts else ()
            seed(self._duplicates, self._definition, remembered, next_offsets, rows, kept)
            index = TailIndex(
                limits=self._tail_limits,
                schema=self._schema,
                lo=next_offsets,
                hi=positions,
                next=next_offsets,
                dead_next=dead_next,
                dead_lo={},
            ).with_sealed(kept)
            self._publisher.on_start(topic_id, origin, index, gaps_of(marker))
        self._set_positions(positions, next_offsets)
        self._source.assign(positions, topic_id)
        self._troubles.clear()

    def _require_in_range(self, positions: Mapping[int, int]) -> None:
        """Look before a start where the last one ended out of range."""
        for partition in self._troubles.out_of_range.keys() & positions.keys():
            end = self._source.bounds(partition)[1]
            if positions[partition] > end:
                raise OperatorError(
                    truncated(self._source.topic, partition, positions[partition], end)
                )

    def _set_positions(self, positions: Mapping[int, int], first: NextOffsets) -> None:
        self._hi = dict(positions)
        self._first = np.zeros((max(positions, default=-1) + 1, len(LANES)), dtype=np.int64)
        for partition, position in positions.items():
            self._first[partition] = np.maximum(first.get(partition, (0,) * len(LANES)), position)

    # --- following

    def _has_room(self) -> bool:
        index = self._publisher.index()
        if index is None or index.open_bytes < self._limits.open_bytes:
            return True
        if self._health.full:
            self._publisher.on_stall(self._health.full)
        else:
            self._publisher.on_tail(None)
        return False

    def _follow_new_partitions(self) -> None:
        fresh = {p: 0 for p in self._health.partitions if p not in self._hi}
        if not fresh:
            return
        self._publisher.on_partitions(fresh)
        width = max(*self._hi, *fresh) + 1
        grown = np.zeros((width, len(LANES)), dtype=np.int64)
        grown[: len(self._first)] = self._first
        self._first = grown
        self._hi |= fresh
        self._source.assign(self._hi, self._publisher.topic_id)

    def _take_in(self, fetched: Fetched) -> None:
        ranges = {
            p: (self._hi[p], position)
            for p, position in fetched.positions.items()
            if position > self._hi.get(p, position)
        }
        if not ranges:
            self._publisher.on_tail(None)
            return
        messages = fetched.messages
        segment = self._segment(fetched, ranges)
        self._publisher.on_tail(segment, max(messages.timestamps_us, default=None))
        for partition, (_, hi) in ranges.items():
            self._hi[partition] = hi
            np.maximum(self._first[partition], hi, out=self._first[partition])
        self._troubles.progressed()

    def _segment(self, fetched: Fetched, ranges: Mapping[int, tuple[int, int]]) -> Segment:
        decoded = self._decoder.decode(fetched.messages)
        rows, rejects = decoded.rows, decoded.rejects
        lanes = lanes_of(self._definition, rows)
        fresh = integers(rows, OFFSET) >= self._first[integers(rows, PARTITION), lanes]
        if not fresh.all():
            rows, lanes = filter_rows(rows, fresh), lanes[fresh]
        kept = self._duplicates.keep(rows, lanes)
        if not kept.all():
            rows, lanes = filter_rows(rows, kept), lanes[kept]
        if rejects.num_rows:
            lows = np.zeros(len(self._first), dtype=np.int64)
            for partition, position in self._hi.items():
                lows[partition] = position
            rejects = filter_rows(
                rejects, integers(rejects, OFFSET) >= lows[integers(rejects, PARTITION)]
            )
        return open_segment(
            ranges,
            rows,
            lanes,
            rejects,
            self._schema,
            byte_count=sum(len(v) for v in fetched.messages.values if v is not None),
            since_s=self._clock.monotonic_s(),
            missing_below=self._missing_below(ranges),
        )

    def _missing_below(self, ranges: Mapping[int, tuple[int, int]]) -> NextOffsets:
        """Per lane, below where rows of these ranges are not taken: the lake had them."""
        return {
            p: tuple(min(int(first), hi) if first > lo else 0 for first in self._first[p])
            for p, (lo, hi) in ranges.items()
            if self._first[p].max() > lo
        }

    def _look_at_positions(self) -> None:
        """Partitions whose position the log does not hold: say why, or go on where it is right."""
        now_s = self._clock.monotonic_s()
        if now_s < self._retry_at_s:
            return
        self._retry_at_s = now_s + self._limits.retry_s
        index = self._publisher.index()
        try:
            for partition in list(self._troubles.out_of_range):
                start, end = self._source.bounds(partition)
                position = self._hi[partition]
                if position > end:
                    self._publisher.on_broken(
                        truncated(self._source.topic, partition, position, end)
                    )
                elif position >= start:
                    del self._troubles.out_of_range[partition]
                    self._source.assign(self._hi, self._publisher.topic_id)
                elif index is not None and min(index.next[partition]) >= start:
                    self._started = False  # the lake has what the log has lost
                else:
                    self._troubles.out_of_range[partition] = deleted(
                        self._source.topic, partition, position, start
                    )
        except UnavailableError as error:
            self._troubles.note([LogProblem(Trouble.TRANSIENT, str(error))], now_s)
