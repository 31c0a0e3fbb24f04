"""What must hold after every turn, whatever happens. Each check looks at what has changed only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.marker import MAINTENANCE_KEY, MARKER_KEY, Marker, is_at_or_after
from contract.table import LANES, OFFSET, PARTITION, TIMESTAMP, Lane
from flight_server.tail.columns import integers
from flight_server.tail.watermarks import NOTHING_YET
from highwater.simulate.faults import Reached
from highwater.simulate.oracle import KINDS, Event, Ranges, Unseen
from highwater.simulate.table import places
from highwater.simulate.upkeep import wrong_in_copy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from contract.marker import NextOffsets
    from flight_server.view import View
    from highwater.simulate.lake import SimSnapshot
    from highwater.simulate.oracle import Oracle
    from highwater.simulate.server import Server
    from highwater.simulate.table import Snapshot, Storage
    from highwater.simulate.world import World

_LANE_OF = {kind: lane for lane, kind in KINDS.items()}
Found = dict[tuple[int, Lane], list[int]]  # offsets by partition and lane


class InvariantError(Exception):
    """What must hold does not."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot means: the marker that holds for it, and where its line began to read."""

    marker: Marker | None
    origin: Mapping[int, int]
    dead: frozenset[tuple[int, int]] = frozenset()  # of the dead letters: all that it holds

    def unseen(self, partition: int) -> Unseen:
        """The offsets that were never read, by lane."""
        return tuple(self._unseen(partition, (lane,)) for lane in LANES)

    def unread(self, partition: int) -> Ranges:
        """The offsets of which nothing was read, no reject either."""
        return self._unseen(partition, LANES)

    def _unseen(self, partition: int, lanes: tuple[Lane, ...]) -> Ranges:
        gaps = self.marker.gaps if self.marker is not None else ()
        noted = [
            (g.from_offset, g.to_offset)
            for g in gaps
            if g.partition == partition and {*lanes} <= {*g.lanes}
        ]
        start = self.origin.get(partition, 0)
        return ((0, start), *noted) if start else tuple(noted)


_NOTHING = Facts(None, {})


class TableChecks:
    """Of both tables: every snapshot that is new, against the one below it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[int | None, Facts] = {None: _NOTHING}
        self._dead: dict[int | None, Facts] = {None: _NOTHING}
        self._dead_epochs: dict[tuple[int, int], int] = {}  # of the writer of each dead letter

    def rows(self, snapshot_id: int | None) -> Facts:
        """Of that snapshot of the rows' table."""
        return self._rows[snapshot_id]

    def dead(self, snapshot_id: int | None) -> Facts:
        """Of that snapshot of the dead letters."""
        return self._dead[snapshot_id]

    def check(self) -> None:
        """All snapshots since the last check."""
        for snapshot in _since(self._world.dead, self._dead):
            self._dead[snapshot.snapshot_id] = self._check_dead(snapshot)
        for snapshot in _since(self._world.rows, self._rows):
            self._rows[snapshot.snapshot_id] = self._check_rows(snapshot)

    def _check_rows(self, snapshot: Snapshot) -> Facts:
        base = self._rows[snapshot.parent]
        if MARKER_KEY not in snapshot.summary:
            _require(snapshot.rows.num_rows == 0, "rows came without a marker")
            return base
        marker = Marker.from_json(snapshot.summary[MARKER_KEY])
        if MAINTENANCE_KEY in snapshot.summary:
            wrong = wrong_in_copy(snapshot, marker, base.marker)
            _require(not wrong, wrong)
            return base
        before = base.marker.next if base.marker else {}
        origin = base.origin or {p: min(o) for p, o in marker.next.items()}
        facts = Facts(marker, origin)
        if base.marker is None:
            before = marker.next
        else:
            _check_order(base.marker, marker)
            forgotten = marker.gaps[: len(base.marker.gaps)] != base.marker.gaps
            _require(not forgotten, "gaps were forgotten")
            for gap in marker.gaps[len(base.marker.gaps) :]:
                self._world.reach(
                    Reached.GAP_NOTED if gap.of_all_lanes else Reached.GAP_OF_LANES_NOTED
                )
            if marker.level < base.marker.level:
                self._world.reach(Reached.LEVEL_FELL)
        oracle = self._world.oracle(marker.topic_id)
        found = _found_in(oracle, snapshot.rows.combine_chunks().to_batches())
        expected = _expected(oracle, facts, before, marker.next)
        _require(found == expected, f"rows of the commit: {found}, the log's: {expected}")
        self._check_counts(facts, before, snapshot.rows.num_rows)
        return facts

    def _check_counts(self, facts: Facts, before: NextOffsets, rows: int) -> None:
        marker = facts.marker
        assert marker is not None
        oracle = self._world.oracle(marker.topic_id)
        dead = self._dead[self._world.dead.head].dead
        duplicates = letters = tombstones = 0
        if any(len(set(offsets)) > 1 for offsets in marker.next.values()):
            self._world.reach(Reached.LANE_BEHIND)
        for partition, after in marker.next.items():
            starts, unseen = before.get(partition, NOTHING_YET), facts.unseen(partition)
            duplicates += sum(
                oracle.dropped(partition, unseen, lane, starts[lane], after[lane]) for lane in LANES
            )
            # Rejects have no lane: they are read with the foremost one.
            rejects = oracle.rejects(partition, max(starts), max(after))
            rejects = _outside(rejects, facts.unread(partition))
            letters += len(rejects)
            tombstones += sum(oracle.is_tombstone(partition, o) for o in rejects)
            if any(self._dead_epochs.get((partition, o), 0) < marker.epoch for o in rejects):
                self._world.reach(Reached.DEAD_LETTERS_SKIPPED)
            lost = [o for o in rejects if (partition, o) not in dead]
            _require(not lost, f"below the marker and no dead letters: {partition}, {lost}")
        counts = (marker.rows, marker.duplicates, marker.dead_letters, marker.tombstones)
        expected = (rows, duplicates, letters, tombstones)
        _require(counts == expected, f"the marker counts {counts}, there are {expected}")
        if duplicates:
            self._world.reach(Reached.DUPLICATES)
        if letters:
            self._world.reach(Reached.DEAD_LETTERS)
        if len(marker.next) > len(before):
            self._world.reach(Reached.PARTITION_ADDED)

    def _check_dead(self, snapshot: Snapshot) -> Facts:
        base = self._dead[snapshot.parent]
        text = snapshot.summary.get(MARKER_KEY)
        marker = Marker.from_json(text) if text else base.marker
        _require(text is not None or not snapshot.rows.num_rows, "dead letters without a marker")
        if marker is None:
            return base
        if base.marker is not None:
            _check_order(base.marker, marker)
        added = places(snapshot.rows)
        _require(len(set(added)) == len(added), f"dead letters twice: {added}")
        _require(base.dead.isdisjoint(added), f"dead letters again: {added}")
        oracle = self._world.oracle(marker.topic_id)
        for partition, offset in added:
            _require(
                oracle.rejects(partition, offset, offset + 1) == [offset],
                f"offset {offset} of partition {partition} is no dead letter",
            )
        self._dead_epochs |= dict.fromkeys(added, marker.epoch)
        return Facts(marker, {}, base.dead | set(added))


def _since(storage: Storage, known: dict[int | None, Facts]) -> list[Snapshot]:
    fresh = range(len(known), storage.last_id + 1)
    return [storage.snapshots.get(i) or storage.expired[i] for i in fresh]


def _check_order(earlier: Marker, later: Marker) -> None:
    _require(is_at_or_after(later.next, earlier.next), f"{later.next} after {earlier.next}")
    _require(later.epoch >= earlier.epoch, f"epoch {later.epoch} after {earlier.epoch}")


class ViewChecks:
    """Of one server's views."""

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._cut: tuple[str, NextOffsets] = ("", {})
        self._seen: object = None
        self._view: View[SimSnapshot] | None = None  # kept, or ids could be given away again
        # What a batch holds; the batch is kept, or its id could be given away again.
        self._batches: dict[int, tuple[pa.RecordBatch, Found]] = {}

    def check(self) -> None:
        """The current view, if it is another one than last time."""
        index = self._server.publisher.index()
        if index is not None:
            bound = self._server.limits.open_bytes + self._server.limits.poll_messages * 100
            _require(index.open_bytes <= bound, f"{index.open_bytes} bytes in memory")
        files = self._server.files.byte_count
        _require(files <= self._world.plan.disk_cap_bytes, f"{files} bytes of files")
        view = self._server.view()
        self._server.watch.look(view)
        if view is None:
            return
        batches = [id(b) for b in (*view.tail, *view.dead_tail)]
        identity = (view.cut, view.next, view.dead_next, view.lake.snapshot_id, batches)
        if identity == self._seen:
            return
        self.check_view(view)
        topic_id, cut = self._cut
        if topic_id == view.topic_id:
            _require(is_at_or_after(view.cut, cut), f"the cut went back from {cut} to {view.cut}")
        self._cut = view.topic_id, view.cut
        self._seen, self._view = identity, view

    def check_view(self, view: View[SimSnapshot]) -> None:
        """It is the log's prefix up to its cut, each row once: so the tail is what is missing."""
        facts = self._world.tables.rows(view.lake.snapshot_id)
        known = facts.marker.next if facts.marker else {}
        _require(view.marker == facts.marker, "the view has another marker than its snapshot")
        if facts.marker is None:
            facts = Facts(None, {p: min(o) for p, o in view.next.items()})
        for partition, offsets in known.items():
            _require(view.next.get(partition) == offsets, f"next {view.next}, marker {known}")
        oracle = self._world.oracle(view.topic_id)
        found = self._found(oracle, view.tail)
        expected = _expected(oracle, facts, view.next, view.cut)
        _require(
            found == expected,
            f"tail {found}, log {expected}, next {view.next}, cut {view.cut}",
        )
        self._check_dead(view, facts, oracle)

    def _check_dead(self, view: View[SimSnapshot], facts: Facts, oracle: Oracle) -> None:
        known = self._world.tables.dead(view.dead.snapshot_id if view.dead else None)
        lake = known.dead
        tail = [place for batch in view.dead_tail for place in places(batch)]
        shown = sorted(tail + [(p, o) for p, o in lake if o < view.dead_cut(p)])
        _require(len(set(shown)) == len(shown), f"dead letters twice: {shown}")
        for partition in view.cut:
            unseen = (*facts.unread(partition), *known.unread(partition))
            rejects = oracle.rejects(partition, 0, view.dead_cut(partition))
            mine = [o for p, o in shown if p == partition]
            missing = set(_outside(rejects, unseen)) - set(mine)
            _require(not missing, f"no dead letters: {partition}, {missing}")
            _require(set(mine) <= set(rejects), f"dead letters {mine}, log {rejects}")

    def _found(self, oracle: Oracle, batches: tuple[pa.RecordBatch, ...]) -> Found:
        known = self._batches
        self._batches = {id(b): known.get(id(b)) or (b, _found_in(oracle, [b])) for b in batches}
        total: Found = {}
        for _, found in self._batches.values():
            for key, offsets in found.items():
                total.setdefault(key, []).extend(offsets)
        return total


def _found_in(oracle: Oracle, batches: list[pa.RecordBatch]) -> Found:
    """Offsets in their order, after a comparison of each row with its message."""
    found: Found = {}
    for batch in batches:
        columns = [integers(batch, c).tolist() for c in (PARTITION, OFFSET, TIMESTAMP)]
        texts = [batch.column(c).to_pylist() for c in ("id", "kind")]
        for p, o, at, event_id, kind in zip(*columns, *texts, strict=True):
            event = oracle.entry(p, o)
            if not isinstance(event, Event):
                raise InvariantError(f"row {p}, {o}, {event_id} is the message {event}")
            same = (event.event_id, event.timestamp_us) == (event_id, at)
            _require(same, f"row {p}, {o}, {event_id} is not the message {event}")
            found.setdefault((p, _LANE_OF[kind]), []).append(o)
    return found


def _expected(oracle: Oracle, facts: Facts, lo: NextOffsets, hi: NextOffsets) -> Found:
    expected: Found = {}
    for partition, ends in hi.items():
        starts = lo.get(partition, NOTHING_YET)
        unseen = facts.unseen(partition)
        for lane in LANES:
            kept = oracle.kept(partition, unseen, lane, starts[lane], ends[lane])
            if kept:
                expected[partition, lane] = kept
    return expected


def _outside(offsets: list[int], unseen: Ranges) -> list[int]:
    return [o for o in offsets if not any(lo <= o < hi for lo, hi in unseen)]


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise InvariantError(text)
