"""The view: one immutable value that a statement reads, and the one place that publishes it.

The refresher says what the lake holds, the follower what the log holds. Both end in a `View`: a
snapshot, its marker, and exactly those rows of the tail that lie at or above the marker. What
holds for every view that is published:

- M.next[p][lane] >= tail.lo[p][lane]: lake and tail meet, there is no gap between them;
- the cut max(M.next, tail.hi) never goes back from one view to a later one (of the same topic id);
- rows leave the tail only together with the publication of the snapshot that holds them.

Where that can't be had (a table that was rolled back below the tail, a topic that was made again)
there is no view: `current` raises, the follower reads the log again, and the next view appears
when the tail has reached the old cut.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from contract.errors import BugError, UnavailableError
from contract.marker import is_at_or_after
from flight_server.tail.freshness import FreshnessLimits, State, judged
from flight_server.tail.trouble import why_apart, why_behind
from flight_server.tail.watermarks import LakeLike, dead_watermarks, joined, watermarks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from contract.clock import Clock
    from contract.marker import Marker, NextOffsets
    from flight_server.cut.receipt import TableCut
    from flight_server.tail.chunk import Segment
    from flight_server.tail.index import Dropped, Held, TailIndex
    from flight_server.tail.watermarks import Gaps

__all__ = ["FreshnessLimits", "LakeLike", "State", "View", "ViewPublisher"]

L = TypeVar("L", bound=LakeLike)


@dataclass(frozen=True, slots=True)
class View(Generic[L]):
    """What one statement reads. `tail` and `dead_tail`: exactly the rows that the snapshots lack.

    `next`: watermarks of the snapshot, with the start of the log for partitions that its marker
    doesn't know; `dead_next`: of the dead letters. `hi`: fetch positions of the tail. `cut`:
    max(next, hi). `ends`: the log's ends as last heard of, asked for at `ends_asked_s` (monotonic).
    `newest_us`: newest broker timestamp of the tail since the start. `held`: the tail's segments.
    `asked`: the earlier cut that is wanted again: `next` and `cut` are its own, the rest has more.
    """

    lake: L
    dead: L | None
    marker: Marker | None
    topic_id: str
    tail: tuple[pa.RecordBatch, ...]
    dead_tail: tuple[pa.RecordBatch, ...]
    next: NextOffsets
    dead_next: NextOffsets
    hi: Mapping[int, int]
    cut: NextOffsets
    ends: Mapping[int, int]
    newest_us: int | None
    published_at_ms: int
    held: tuple[Held, ...]
    state: State = State.LAGGING
    reason: str = ""
    ends_asked_s: Mapping[int, float] = field(default_factory=dict)
    asked: TableCut | None = None

    @property
    def lag_messages(self) -> int:
        """Messages between the cut and the log's end as last heard of."""
        return sum(max(0, end - min(self.cut.get(p, (0,)))) for p, end in self.ends.items())

    @property
    def lag_s(self) -> float:
        """Age of the newest message at publication; 0 if the view reaches the log's end."""
        if self.newest_us is None or self.lag_messages == 0:
            return 0.0
        return max(0.0, self.published_at_ms / 1e3 - self.newest_us / 1e6)

    def dead_cut(self, partition: int) -> int:
        """Dead letters below this offset belong to the view."""
        return max(self.cut.get(partition, (0,)))


class ViewPublisher(Generic[L]):
    """Publishes views of one table. The refresher calls `on_lake`, the tail's threads the rest.

    Everything happens under one lock, and nothing in it waits. `current` takes no lock.
    """

    def __init__(
        self, clock: Clock, rules_digest: str, limits: FreshnessLimits | None = None
    ) -> None:
        self._clock = clock
        self._rules_digest = rules_digest  # of the definition by which the tail assigns lanes
        self._limits = limits or FreshnessLimits()
        self._lock = threading.Lock()
        self._lake: tuple[L, L | None] | None = None
        self.topic_id = ""  # of the topic that the tail is read from; empty before its first start
        self.gaps: Gaps = ()  # of the marker that the tail was started with
        self._origin: Mapping[int, int] = {}
        self._index: TailIndex | None = None
        self._ends: tuple[Mapping[int, int], Mapping[int, float]] = ({}, {})  # and when asked
        self._newest_us: int | None = None
        self._view: View[L] | None = None
        self._cut: NextOffsets = {}  # of the newest view: later ones are at or after it
        self._no_view = "the table has not been read yet: try again in a moment"
        self._restart = ""
        self._broken = False
        self._stall = ""
        self._dropped: list[Dropped] = []
        self._reported_s = clock.monotonic_s()

    def current(self) -> View[L]:
        """The view to answer from.

        Raises:
            UnavailableError: there is none at the moment; the text says why.
        """
        view = self._view
        if view is None:
            raise UnavailableError(self._no_view)
        silent_s = self._clock.monotonic_s() - self._reported_s
        if silent_s > self._limits.stalled_after_s and view.state is not State.STALLED:
            reason = f"the follower has not reported for {silent_s:.0f} s"
            return replace(view, state=State.STALLED, reason=reason)
        return view

    def on_lake(self, lake: L, dead: L | None) -> None:
        """A snapshot of the table, and one of its dead-letter table loaded after it."""
        with self._lock:
            self._lake = (lake, dead)
            if self._broken:
                return
            if self._index is None:
                self._no_view = "the tail of the log is being opened: try again in a moment"
                return
            index = self._index.recut(self._next(self._index), dead_watermarks(dead))
            self._restart = why_apart(
                index, lake.marker, self.topic_id, self._rules_digest, self.gaps
            )
            if self._restart:
                self._no_view, self._view = self._restart, None
                return
            self._index = index
            self._publish()
            self._trim()

    def lake(self) -> tuple[L, L | None] | None:
        """What the refresher said last: the table, and its dead letters."""
        return self._lake

    def on_start(
        self, topic_id: str, origin: Mapping[int, int], index: TailIndex, gaps: Gaps = ()
    ) -> None:
        """The tail begins anew with this index, read from this topic; `gaps`: of its marker.

        `origin`: where partitions begin that the marker doesn't know. The lake may have changed
        since the index was made; then the publisher asks for another start.
        """
        with self._lock:
            if topic_id != self.topic_id:
                self._cut, self._newest_us = {}, None  # of another topic: can't be compared
            self.topic_id, self.gaps = topic_id, gaps
            self._origin = dict(origin)
            self._index = index
            self._restart = self._stall = ""
            self._broken, self._view = False, None
            self._ends = {}, {}
            self._reported_s = self._clock.monotonic_s()
        if (lake := self._lake) is not None:
            self.on_lake(*lake)

    def on_partitions(self, positions: Mapping[int, int]) -> None:
        """The follower reads these new partitions, from these positions."""
        with self._lock:
            index = self._require_index()
            self._origin = {**positions, **self._origin}
            index = index.with_partitions(positions)
            self._index = index.recut(self._next(index), index.dead_next)
            self._publish()

    def on_tail(self, segment: Segment | None, newest_us: int | None = None) -> None:
        """The next piece of the log; None: the follower is alive and there was nothing."""
        with self._lock:
            self._reported_s = self._clock.monotonic_s()
            if segment is None:
                return
            self._index = self._require_index().append(segment)
            if newest_us is not None:
                self._newest_us = max(newest_us, self._newest_us or newest_us)
            self._publish()
            if segment.is_below(self._index.next):
                self._trim()  # nothing else would, until the next commit

    def on_ends(self, ends: Mapping[int, int], asked_s: Mapping[int, float] | None = None) -> None:
        """The log's ends as the broker tells them; `asked_s`: when each was asked for."""
        with self._lock:
            self._ends = dict(ends), dict(asked_s or {})
            if self._index is not None:
                self._publish()

    def on_stall(self, reason: str) -> None:
        """The follower can't go on, because of this; empty: it can."""
        with self._lock:
            changed = reason != self._stall
            self._stall = reason
            self._reported_s = self._clock.monotonic_s()
            if changed and self._index is not None:
                self._publish()

    def on_broken(self, reason: str) -> None:
        """No view can be trusted, because of this, until the tail begins anew."""
        with self._lock:
            self._restart = self._no_view = reason
            self._broken = True
            self._view = None

    def restart_wanted(self) -> str:
        """Why the follower must begin anew; empty if it need not."""
        return self._restart

    def index(self) -> TailIndex | None:
        """The tail as it is now."""
        return self._index

    def close_segments(self, *, everything: bool = False) -> Sequence[Segment]:
        """Choose what is sealed next: these segments stay unmerged until `on_sealed`."""
        with self._lock:
            index = self._require_index()
            now_s = self._clock.monotonic_s()
            self._index = index.close_segments(now_s, everything=everything)
            return self._index.closing

    def on_sealed(self, closing: Sequence[Segment], sealed: Segment) -> bool:
        """`sealed` holds the rows of these; False: nobody needs them any more."""
        with self._lock:
            index = self._require_index().replace_closed(closing, sealed)
            if index is None:
                return False
            self._index = index
            self._publish()
            self._trim()  # a marker may have covered some of it while it was written
            return True

    def take_dropped(self) -> list[Dropped]:
        """What was trimmed since the last call: its files can go."""
        with self._lock:
            dropped, self._dropped = self._dropped, []
            return dropped

    def _trim(self) -> None:
        if self._view is not None and self._index is not None:
            self._index, dropped = self._index.trim()
            self._dropped += dropped

    def _require_index(self) -> TailIndex:
        if self._index is None:
            raise BugError("the tail was continued before it was started")
        return self._index

    def _next(self, index: TailIndex) -> NextOffsets:
        marker = self._lake[0].marker if self._lake else None
        return watermarks(marker, self._origin, index.hi)

    def _publish(self) -> None:
        index, lake = self._index, self._lake
        if index is None or lake is None or self._restart:
            return
        cut = joined(index.next, index.hi)
        if not is_at_or_after(cut, self._cut):
            self._view, self._no_view = None, why_behind(self._cut, cut, self._ends[0], lake[0])
            return
        view = View(
            lake=lake[0],
            dead=lake[1],
            marker=lake[0].marker,
            topic_id=self.topic_id,
            tail=index.batches,
            dead_tail=index.dead_batches,
            next=index.next,
            dead_next=index.dead_next,
            hi=index.hi,
            cut=cut,
            ends=self._ends[0],
            ends_asked_s=self._ends[1],
            newest_us=self._newest_us,
            published_at_ms=int(self._clock.wall_s() * 1000),
            held=index.held,
        )
        self._cut = cut
        state, reason = judged(view, self._limits, self._stall)
        self._view = replace(view, state=state, reason=reason)
