"""Faults that are put into the product on purpose, and some that it has had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from contract.duplicates import DuplicateFilter, Remembered
from contract.marker import find_marker
from contract.table import LANES
from flight_server.tail.watermarks import joined
from flight_server.view import ViewPublisher
from highwater.simulate.log import ScriptedLog
from highwater.simulate.table import Storage
from ingest.admission import Admission
from ingest.commit import TableWriter
from ingest.flush import Flusher
from ingest.maintenance.swap import Lander
from ingest.ports import NOTHING_WRITTEN, Committed
from ingest.table_watch import TableWatch

if TYPE_CHECKING:
    import pytest

    from contract.log import Fetched
    from contract.marker import Marker
    from flight_server.tail.index import TailIndex
    from ingest.flush import Flush
    from ingest.ports import Head, Written

Plant = Callable[["pytest.MonkeyPatch"], None]


def cut_is_one_too_far(patch: pytest.MonkeyPatch) -> None:
    """The cut counts a message that was not read."""
    patch.setattr(
        "flight_server.view.joined",
        lambda n, hi: joined(n, {p: end + 1 for p, end in hi.items()}),
    )


def tail_is_trimmed_before_the_snapshot_is_published(patch: pytest.MonkeyPatch) -> None:
    """Rows leave the tail as soon as somebody has heard of their commit."""
    real = ViewPublisher.on_lake

    def on_lake(self: Any, lake: Any, dead: Any) -> None:
        if self._index is not None and self._view is not None and lake.marker is not None:
            known = {p: o for p, o in lake.marker.next.items() if p in self._index.hi}
            index: TailIndex = self._index.recut(
                {**self._index.next, **known}, self._index.dead_next
            )
            self._index, dropped = index.trim()
            self._dropped += dropped
            self._publish()
        else:
            real(self, lake, dead)

    patch.setattr(ViewPublisher, "on_lake", on_lake)


def commit_does_not_look_for_its_own_id(patch: pytest.MonkeyPatch) -> None:
    """After an unknown outcome the same rows are sent again."""

    def land(self: TableWriter, written: Written, _id: str, make: Any) -> Marker:
        while True:
            head = self._until_available(self.table.head)
            base = self._marker
            if base is not None and head.marker is not None and head.marker.epoch == base.epoch:
                self._marker = replace(base, next=head.marker.next)
            marker: Marker = make(replace(head, marker=base) if base and written.rows else head)
            if isinstance(self.table.commit(written, marker, head), Committed):
                return marker
            self._wait("again")

    patch.setattr(TableWriter, "_land", land)


def position_is_the_last_message_plus_one(patch: pytest.MonkeyPatch) -> None:
    """Control records at the end of a partition are never passed."""
    real = ScriptedLog.poll

    def poll(self: ScriptedLog, max_messages: int, timeout_s: float) -> Fetched:
        fetched = real(self, max_messages, timeout_s)
        batch = fetched.messages
        last = dict(zip(batch.partitions, (o + 1 for o in batch.offsets), strict=True))
        return replace(fetched, positions=last)

    patch.setattr(ScriptedLog, "poll", poll)


def duplicates_are_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    """The rule begins empty instead of with what the table holds."""
    patch.setattr("ingest.pipeline.seed", lambda *_: 0)


def server_forgets_duplicates_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    """The same in the server."""
    patch.setattr("flight_server.tail.follower.seed", lambda duplicates, *_: duplicates.start({}))


def epoch_does_not_fence(patch: pytest.MonkeyPatch) -> None:
    """A sidecar writes on whoever has taken over the table."""
    patch.setattr(TableWriter, "_require", lambda *_: None)


def compaction_is_not_fenced(patch: pytest.MonkeyPatch) -> None:
    """A sidecar compacts a table that another one has taken over."""
    patch.setattr(Lander, "_checked", lambda _self, head: head.marker)


def compaction_carries_a_marker_of_before(patch: pytest.MonkeyPatch) -> None:
    """Not that of the head it stands on: what was flushed meanwhile is taken back."""
    real = Lander._checked
    before: dict[int, Marker] = {}

    def checked(self: Lander, head: Head) -> Marker:
        stale = before.get(id(self))
        before[id(self)] = real(self, head)
        return stale or before[id(self)]

    patch.setattr(Lander, "_checked", checked)


def rows_are_committed_before_dead_letters(patch: pytest.MonkeyPatch) -> None:
    """A crash in between loses the dead letters."""

    def flush(self: Flusher, flush: Flush) -> Any:
        drained = flush.drained
        self._check_topic()
        written = self._rows.write(drained.rows) if drained.rows.num_rows else NOTHING_WRITTEN
        base = self._rows.marker
        marker = self._rows.commit(
            written,
            replace(
                base,
                next=flush.next,
                remembered=flush.remembered,
                rows=written.rows,
                dead_letters=drained.dead_letters,
                tombstones=drained.tombstones,
                duplicates=drained.duplicates,
                gaps=(*base.gaps, *drained.gaps),
            ),
        )
        letters = self._commit_dead(flush) if drained.rejects.num_rows else NOTHING_WRITTEN
        return self._report(flush, marker, written, letters, 0.0)

    patch.setattr(Flusher, "flush", flush)


def lane_that_waits_is_said_to_be_read(patch: pytest.MonkeyPatch) -> None:
    """Its watermark goes on with the others although its rows were left out."""
    real = Admission.advance

    def advance(self: Admission, positions: Any) -> None:
        waits = self._waits.copy()
        self._waits[:] = False
        real(self, positions)
        self._waits[:] = waits

    patch.setattr(Admission, "advance", advance)


def backfill_begins_where_the_live_reader_is(patch: pytest.MonkeyPatch) -> None:
    """What was left out while a lane waited is never read again."""

    def begin_backfill(self: Admission, positions: Any) -> None:
        for partition in positions:
            self._floor[partition] = self._position[partition]

    patch.setattr(Admission, "begin_backfill", begin_backfill)


def backfill_takes_what_the_live_reader_took(patch: pytest.MonkeyPatch) -> None:
    """Every row that is read again is a row, whatever its lane has already."""

    def admit_again(self: Admission, rows: Any) -> Any:
        return rows, 0

    patch.setattr(Admission, "admit_again", admit_again)


def lanes_share_one_memory_of_duplicates(patch: pytest.MonkeyPatch) -> None:
    """What a lane that waited repeats is compared with rows behind it."""
    real = DuplicateFilter._window

    def window(self: Any, partition: int, lane: int) -> Any:
        del lane
        return real(self, partition, 0)

    patch.setattr(DuplicateFilter, "_window", window)


def marker_remembers_as_if_no_lane_had_waited(patch: pytest.MonkeyPatch) -> None:
    """After a restart a lane that was behind knows nothing of the rows before it."""

    def remembered(self: Admission) -> Any:
        positions = enumerate(self._position.tolist())
        return {
            p: tuple(
                Remembered(position, r.clock_us) for r in self._duplicates.remembered(p, floor)
            )
            if min(floor) < position
            else self._duplicates.remembered(p, floor)
            for (p, position), floor in zip(positions, self._floor.tolist(), strict=True)
        }

    patch.setattr(Admission, "remembered", remembered)


# Faults that the product has had.


def dead_letters_go_back_after_a_crash(patch: pytest.MonkeyPatch) -> None:
    """Their marker followed the rows' positions, which are read again."""

    def commit_dead(self: Flusher, flush: Flush) -> Written:
        written = self._dead.write(flush.drained.rejects)
        back = {p: (o,) * len(LANES) for p, o in flush.drained.positions.items()}
        self._dead.commit(written, replace(self._dead.marker, next=back, rows=written.rows))
        return written

    patch.setattr(Flusher, "_commit_dead", commit_dead)


def tail_remembers_messages_of_a_gap(patch: pytest.MonkeyPatch) -> None:
    """Rows were dropped as repetitions of messages that were never ingested."""
    patch.setattr("flight_server.tail.trouble.gaps_of", lambda _marker: ())
    patch.setattr("flight_server.tail.follower.gaps_of", lambda _marker: ())


def idle_sidecar_does_not_look_at_its_table(patch: pytest.MonkeyPatch) -> None:
    """A table that was rolled back while its topic was silent stayed behind."""
    patch.setattr(TableWatch, "step", lambda *_, **__: None)


def copy_of_a_marker_that_was_rolled_back_is_believed(patch: pytest.MonkeyPatch) -> None:
    """Rows that a rollback had taken away were never written again."""
    patch.setattr(
        Storage,
        "marker",
        lambda self: find_marker([s.summary for s in self.ancestors()], self.properties),
    )
