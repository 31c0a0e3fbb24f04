"""Which commit claims which offset, and how much of each is found there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contract.table import LANES
from highwater.verify.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from contract.marker import NextOffsets
    from highwater.verify.chain import Chain, Claim
    from highwater.verify.facts import TableFacts
    from highwater.verify.findings import Ledger

NO_LANE = -1  # of messages that are no rows: they are read with the foremost lane
_ANYWHERE = -2  # a file of a commit that makes no claim, or of maintenance
_EARLIER = -1  # a file whose commit is no longer known: below all that are


def rules_starts(chain: Chain, digest: str) -> NextOffsets | None:
    """Per partition and lane, from where on the rules with this digest have decided.

    As far as the known markers tell; None if those that hold now are others.
    """
    marker = chain.marker
    if marker is None or marker.rules_digest != digest:
        return None
    starts: NextOffsets = {}
    for claim in chain.claims:  # the last change counts
        if claim.before is not None and claim.before.rules_digest != claim.after.rules_digest:
            starts = claim.before.next
    return starts


class Claims:
    """The known claims of one table, as boundaries per partition and lane."""

    def __init__(self, facts: TableFacts, chain: Chain, *, by_lane: bool) -> None:
        """`by_lane`: whether a row's lane is known; else a claim ends where its last lane does."""
        self._table = facts.table
        self._by_lane = by_lane
        self._claims = [c for c in chain.claims if not c.is_copy]
        numbers = dict.fromkeys((c.snapshot_id for c in facts.commits), _ANYWHERE)
        numbers |= {c.commit.snapshot_id: i for i, c in enumerate(self._claims)}
        self._has_start = bool(self._claims) and (
            self._claims[0].before is not None or self._claims[0].is_first
        )
        self._entries = facts.entries
        found = [numbers.get(e.added_by, _EARLIER) for e in facts.entries]
        self._of_file = np.array(found, np.int64)
        self._bounds: dict[tuple[int, int], NDArray[np.int64]] = {}
        shape = len(self._claims)
        self.kept = np.zeros(shape, np.int64)
        self.duplicates = np.zeros(shape, np.int64)
        self.rejects = np.zeros(shape, np.int64)
        self._unread = np.zeros(shape, bool)

    def file(self, index: int | None) -> tuple[str | None, int | None]:
        """Name and snapshot of an entry."""
        if index is None:
            return None, None
        return self._entries[index].name, self._entries[index].added_by

    def number_of(self, partition: int, lane: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The claim of each offset of that lane; -1: before all known ones, or behind them."""
        if not self._claims:
            return np.full(len(offsets), -1, np.int64)
        bounds = self._boundaries(partition, lane)
        numbers = np.searchsorted(bounds, offsets, side="right")
        return np.where(numbers < len(bounds), numbers, -1)

    def _boundaries(self, partition: int, lane: int) -> NDArray[np.int64]:
        """Where each claim ends, shape (claims,)."""
        found = self._bounds.get((partition, lane))
        if found is None:
            ends = [_end(c.after.next, partition, lane, self._by_lane) for c in self._claims]
            found = self._bounds[partition, lane] = np.maximum.accumulate(np.array(ends, np.int64))
        return found

    def check_rows(
        self,
        partition: int,
        offsets: NDArray[np.int64],
        lanes: NDArray[np.int8],
        files: NDArray[np.int64],
        ledger: Ledger,
    ) -> None:
        """Rows below the marker must lie in the claims that their files belong to."""
        wanted = self._of_file[files]
        for lane in range(len(LANES)):
            mine = (lanes == lane) & (wanted != _ANYWHERE)
            if not mine.any():
                continue
            numbers = self.number_of(partition, lane, offsets[mine])
            if self._has_start and self._claims:
                start = _start(self._claims[0], partition, lane, self._by_lane)
                numbers[(offsets[mine] < start) & (numbers == 0)] = _EARLIER
            asked = wanted[mine]
            wrong = numbers != asked
            if not self._has_start:  # nobody knows where the oldest known claim begins
                wrong &= (numbers > 0) | (asked > 0)
            self._report(partition, offsets[mine][wrong], files[mine][wrong], ledger)

    def _report(
        self, partition: int, offsets: NDArray[np.int64], files: NDArray[np.int64], ledger: Ledger
    ) -> None:
        for file in np.unique(files).tolist():
            entry, mine = self._entries[file], offsets[files == file]
            text = (
                f"{len(mine)} offsets of this file are outside of what its commit claims: the file "
                "or the marker was replaced; compare both with the topic"
            )
            ledger.add(
                Finding(
                    "commits.claims",
                    self._table,
                    text,
                    partition=partition,
                    from_offset=int(mine.min()),
                    to_offset=int(mine.max()) + 1,
                    file=entry.name,
                    snapshot_id=entry.added_by,
                )
            )

    def count(
        self, into: NDArray[np.int64], partition: int, lane: int, offsets: NDArray[np.int64]
    ) -> None:
        """Add these offsets to the claims that they belong to."""
        numbers = self.number_of(partition, lane, offsets)
        numbers = numbers[numbers >= 0]
        into += np.bincount(numbers, minlength=len(into))[: len(into)]

    def leave_out(self, judged_from: Mapping[int, int]) -> None:
        """Claims that begin below these offsets can't be counted: partition -> first one judged."""
        for i, claim in enumerate(self._claims):
            before = claim.after if claim.is_first else claim.before
            if before is None:
                self._unread[i] = True
                continue
            for partition, after in claim.after.next.items():
                start = min(before.next.get(partition, (0,)))
                if start < max(after) and start < judged_from.get(partition, 0):
                    self._unread[i] = True

    def check_counts(self, ledger: Ledger) -> None:
        """What each marker counts against what the log holds in its range."""
        counted = np.flatnonzero(~self._unread).tolist()
        table = self._table
        if len(counted) < len(self._claims):
            left = len(self._claims) - len(counted)
            ledger.skip("commits.counts", table, f"not for {left} commits below the first offset "
                        "that can be judged by the log and these rules")  # fmt: skip
        if counted:
            ledger.looked("commits.counts", table, f"{len(counted)} commits")
        for i in counted:
            marker = self._claims[i].after
            promised = (marker.rows, marker.dead_letters, marker.duplicates)
            there = (int(self.kept[i]), int(self.rejects[i]), int(self.duplicates[i]))
            if promised == there:
                continue
            text = "its marker counts {} rows, {} dead letters and {} duplicates, ".format(
                *promised
            )
            text += "the log has {}, {} and {} in its range: ".format(*there)
            text += "the marker was changed, or the sidecar's definition was another one"
            snapshot_id = self._claims[i].commit.snapshot_id
            ledger.add(Finding("commits.counts", table, text, snapshot_id=snapshot_id))


def _end(offsets: NextOffsets, partition: int, lane: int, by_lane: bool) -> int:
    values = offsets.get(partition)
    if values is None:
        return 0
    return values[lane] if by_lane and lane != NO_LANE else max(values)


def _start(claim: Claim, partition: int, lane: int, by_lane: bool) -> int:
    before = claim.after if claim.before is None else claim.before
    values = before.next.get(partition, (0,) * len(LANES))
    return values[lane] if by_lane else min(values)
