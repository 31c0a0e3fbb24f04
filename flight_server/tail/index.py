"""The tail as one immutable value: segments in log order, and what a marker leaves of them.

Every method returns another index; chunks and batches are shared between them, so a snapshot is
a reference. The index is always cut by one marker's watermarks: `batches` are the rows at or above
them. Appending costs the size of what is appended, plus now and then the merge of a few small open
segments. A marker costs one comparison per chunk, and a filter for the few that it crosses anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contract.errors import BugError
from contract.table import LANES
from flight_server.tail.chunk import Chunk, Clip, Segment, merge
from flight_server.tail.watermarks import NOTHING_YET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from contract.marker import NextOffsets
    from contract.table import Lane

Batches = tuple["pa.RecordBatch", ...]


@dataclass(frozen=True, slots=True)
class TailLimits:
    """When open segments are merged and sealed."""

    merge_segments: int = 4  # so many neighbours of one tier become one of the next,
    merge_rows: int = 20_000  # unless that has more rows: a longer merge would delay followers
    seal_rows: int = 100_000  # a sealed segment holds about so many rows,
    seal_bytes: int = 64 * 1024 * 1024  # or so many bytes of messages,
    seal_age_s: float = 10.0  # or, after so long, at least
    seal_rows_min: int = 10_000  # so many rows


@dataclass(frozen=True, slots=True, eq=False)
class CutChunk:
    """A chunk and what the watermarks leave of it; `batch` is None if they leave no row."""

    chunk: Chunk
    clip: Clip
    batch: pa.RecordBatch | None

    @staticmethod
    def of(chunk: Chunk, next_offsets: NextOffsets) -> CutChunk:
        """The chunk cut by these watermarks."""
        clip = chunk.clip(next_offsets)
        return CutChunk(chunk, clip, chunk.cut(clip))

    def recut(self, next_offsets: NextOffsets) -> CutChunk:
        """The same chunk cut by other watermarks; costs nothing if they take the same from it."""
        clip = self.chunk.clip(next_offsets)
        return self if clip == self.clip else CutChunk(self.chunk, clip, self.chunk.cut(clip))

    @property
    def covered(self) -> bool:
        """Whether the watermarks lie above all of it."""
        return self.chunk.is_covered_by(self.clip)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A segment of the index; chunks that a marker covered are not held any more.

    A lane without rows has a chunk too: its range is what the lane's watermark must pass.
    """

    segment: Segment
    chunks: tuple[CutChunk, ...]
    rejects: CutChunk

    @property
    def finished(self) -> bool:
        """Whether nothing in it is needed any more."""
        # The dead letters' watermarks move with dead letters only: so ask for rows, not the range.
        return not self.chunks and self.rejects.batch is None


@dataclass(frozen=True, slots=True)
class Dropped:
    """What trimming took away: one lane of a sealed segment, or (`lane` None) all of it."""

    number: int
    lane: Lane | None


@dataclass(frozen=True, slots=True, eq=False)
class TailIndex:
    """All of the tail, in log order: sealed segments first, then open ones.

    `lo`: from where each partition and lane is complete up to `hi`, the partition's fetch
    position. `dead_lo`: the same for rejected messages; absent means from the first one read.
    `next`, `dead_next`: the watermarks that the batches are cut by.
    """

    limits: TailLimits
    schema: pa.Schema
    lo: NextOffsets
    hi: Mapping[int, int]
    next: NextOffsets
    dead_next: NextOffsets
    dead_lo: Mapping[int, int]
    sealed: tuple[Held, ...] = ()
    open: tuple[Held, ...] = ()
    sealed_batches: Batches = ()
    sealed_dead_batches: Batches = ()

    @property
    def batches(self) -> Batches:
        """The rows at or above the watermarks, tail schema."""
        return self.sealed_batches + _batches(self.open)

    @property
    def dead_batches(self) -> Batches:
        """The rejected messages at or above the dead letters' watermarks."""
        return self.sealed_dead_batches + _dead_batches(self.open)

    @property
    def held(self) -> tuple[Held, ...]:
        """All segments in log order."""
        return self.sealed + self.open

    @property
    def open_bytes(self) -> int:
        """Message bytes of what is not sealed yet, that is: in anonymous memory."""
        return sum(h.segment.byte_count for h in self.open)

    def with_partitions(self, positions: Mapping[int, int]) -> TailIndex:
        """The index with new partitions, read from these positions."""
        fresh = {p: o for p, o in positions.items() if p not in self.hi}
        every = {p: (o,) * len(LANES) for p, o in fresh.items()}
        return replace(self, lo={**self.lo, **every}, hi={**self.hi, **fresh})

    def with_sealed(self, segments: Iterable[Segment]) -> TailIndex:
        """The index with these sealed segments; `hi` lies behind them already."""
        fresh = tuple(self._held(s) for s in segments)
        return _with_sealed(self, self.sealed + fresh)

    def append(self, segment: Segment) -> TailIndex:
        """The index with the next piece of the log.

        Raises:
            BugError: it does not begin where the tail ends.
        """
        for partition, (lo, end) in segment.ranges.items():
            if self.hi.get(partition) != lo or end < lo:
                raise BugError(
                    f"the tail of partition {partition} ends at {self.hi.get(partition)} "
                    f"and was continued from {lo} to {end}"
                )
        opened = self._merged((*self.open, self._held(segment)))
        hi = {**self.hi, **{p: end for p, (_, end) in segment.ranges.items()}}
        return replace(self, open=opened, hi=hi)

    def recut(self, next_offsets: NextOffsets, dead_next: NextOffsets) -> TailIndex:
        """The same rows, cut by other watermarks. Nothing is dropped."""
        if next_offsets == self.next and dead_next == self.dead_next:
            return self

        def again(held: Held) -> Held:
            chunks = tuple(c.recut(next_offsets) for c in held.chunks)
            return Held(held.segment, chunks, held.rejects.recut(dead_next))

        moved = replace(
            self,
            next=next_offsets,
            dead_next=dead_next,
            open=tuple(again(h) for h in self.open),
        )
        return _with_sealed(moved, tuple(again(h) for h in self.sealed))

    def trim(self) -> tuple[TailIndex, tuple[Dropped, ...]]:
        """The index without what its watermarks cover; the batches stay the same."""
        lo = {p: list(offsets) for p, offsets in self.lo.items()}
        dead_lo = dict(self.dead_lo)
        dropped: list[Dropped] = []
        sealed = _trimmed(self.sealed, lo, dead_lo, dropped)
        opened = _trimmed(self.open, lo, dead_lo, dropped)
        if len(sealed) == len(self.sealed) and len(opened) == len(self.open) and not dropped:
            return self, ()
        kept = replace(self, lo={p: tuple(o) for p, o in lo.items()}, dead_lo=dead_lo, open=opened)
        return _with_sealed(kept, sealed), tuple(dropped)

    def close_segments(self, now_s: float, *, everything: bool = False) -> TailIndex:
        """Choose open segments that become the next sealed one; `closing` then names them.

        They are the oldest ones up to `seal_rows` or `seal_bytes`, or whatever there is after
        `seal_age_s` if it has `seal_rows_min` (`everything`: whatever there is). While some are
        closed already, nothing changes.
        """
        if not self.open or self.open[0].segment.closed:
            return self
        limits = self.limits
        count = rows = size = 0
        for held in self.open:
            if rows >= limits.seal_rows or size >= limits.seal_bytes:
                break
            count += 1
            rows += held.segment.row_count
            size += held.segment.byte_count
        full = rows >= limits.seal_rows or size >= limits.seal_bytes
        aged = now_s - self.open[0].segment.since_s >= limits.seal_age_s
        if not (full or everything or (aged and rows >= limits.seal_rows_min)):
            return self
        closed = tuple(
            Held(replace(h.segment, closed=True), h.chunks, h.rejects) for h in self.open[:count]
        )
        return replace(self, open=closed + self.open[count:])

    @property
    def closing(self) -> tuple[Segment, ...]:
        """The segments that are being sealed: neighbours, oldest first."""
        return tuple(h.segment for h in self.open if h.segment.closed)

    def replace_closed(self, closing: Sequence[Segment], sealed: Segment) -> TailIndex | None:
        """The index with `sealed` in place of these; None if none of them is held any more."""
        ids = {id(s) for s in closing}
        rest = tuple(h for h in self.open if id(h.segment) not in ids)
        if len(rest) == len(self.open):
            return None
        return _with_sealed(replace(self, open=rest), (*self.sealed, self._held(sealed)))

    def _held(self, segment: Segment) -> Held:
        chunks = tuple(CutChunk.of(c, self.next) for c in segment.chunks)
        return Held(segment, chunks, CutChunk.of(segment.rejects, self.dead_next))

    def _merged(self, opened: tuple[Held, ...]) -> tuple[Held, ...]:
        factor = self.limits.merge_segments
        while len(opened) >= factor:
            last = [h.segment for h in opened[-factor:]]
            tier = last[-1].tier
            rows = sum(s.row_count for s in last)
            if any(s.tier != tier or s.closed for s in last) or rows > self.limits.merge_rows:
                break
            opened = (*opened[:-factor], self._held(merge(last, tier + 1)))
        return opened


def _with_sealed(index: TailIndex, sealed: tuple[Held, ...]) -> TailIndex:
    return replace(
        index,
        sealed=sealed,
        sealed_batches=_batches(sealed),
        sealed_dead_batches=_dead_batches(sealed),
    )


def _batches(held: tuple[Held, ...]) -> Batches:
    return tuple(c.batch for h in held for c in h.chunks if c.batch is not None)


def _dead_batches(held: tuple[Held, ...]) -> Batches:
    return tuple(h.rejects.batch for h in held if h.rejects.batch is not None)


def _trimmed(
    all_held: tuple[Held, ...],
    lo: dict[int, list[int]],
    dead_lo: dict[int, int],
    dropped: list[Dropped],
) -> tuple[Held, ...]:
    """What stays of these; raises `lo` and `dead_lo` over what goes, and notes it in `dropped`."""
    kept: list[Held] = []
    for held in all_held:
        gone = [c for c in held.chunks if c.covered]
        for cut in gone:
            _raise_floor(cut.chunk, lo)
        chunks = tuple(c for c in held.chunks if not c.covered)
        rest = Held(held.segment, chunks, held.rejects) if gone else held
        number = held.segment.number
        if not rest.finished:
            kept.append(rest)
            if number is not None:
                dropped += [Dropped(number, c.chunk.lane) for c in gone]
            continue
        for partition, end in held.rejects.chunk.ends().items():
            dead_lo[partition] = max(dead_lo.get(partition, 0), end)
        if number is not None:
            dropped.append(Dropped(number, None))
    return tuple(kept)


def _raise_floor(chunk: Chunk, lo: dict[int, list[int]]) -> None:
    lanes = LANES if chunk.lane is None else (chunk.lane,)
    for partition, (_, hi) in chunk.ranges.items():
        floors = lo.setdefault(partition, list(NOTHING_YET))
        for lane in lanes:
            floors[lane] = max(floors[lane], hi)
