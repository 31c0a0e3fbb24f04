"""All offsets of one table, strip by strip, partition by partition: table, dead letters and log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contract.table import LANES, OFFSET, PARTITION, PROVENANCE_FIELDS
from highwater.verify.content import PartitionCheck
from highwater.verify.facts import RangeReport
from highwater.verify.findings import Finding, runs
from highwater.verify.stored import FILE, Setting, Stored
from highwater.verify.strips import GroupIndex, plan_strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contract.marker import Marker, NextOffsets
    from highwater.verify.chain import Chain
    from highwater.verify.facts import LogFacts, RowGroup, TableFacts
    from highwater.verify.findings import Ledger
    from highwater.verify.ports import LogPort, TablePort

OFFSET_CHECKS = (
    "offsets.once",
    "offsets.complete",
    "offsets.expected",
    "offsets.content",
    "commits.claims",
    "marker.behind",
)
_WITH_LOG = ("offsets.complete", "offsets.expected", "offsets.content")
_NOTHING = (0,) * len(LANES)
_END = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tables. `groups`: the row groups that can be read, in commit order."""

    port: TablePort
    facts: TableFacts
    chain: Chain
    schema: pa.Schema
    groups: tuple[RowGroup, ...]

    def end(self, partition: int) -> int:
        """The first offset that no lane has read."""
        marker = self.chain.marker
        return 0 if marker is None else max(marker.next.get(partition, _NOTHING))


class Offsets:
    """`log` is None where offsets of this topic can't be compared."""

    def __init__(
        self,
        setting: Setting,
        rows: Side,
        dead: Side,
        log: LogFacts | None,
        rules_from: NextOffsets,
        ledger: Ledger,
    ) -> None:
        self._setting = setting
        self._rows, self._dead = rows, dead
        self._log = log
        self._rules_from = rules_from
        self._ledger = ledger
        self._indices = (GroupIndex(rows.groups), GroupIndex(dead.groups))
        marker = rows.chain.marker
        self._next: Mapping[int, tuple[int, ...]] = {} if marker is None else marker.next
        self._ranges = {p: self._range(p) for p in sorted(self._next)}
        self._checks = {p: self._check(p, r) for p, r in self._ranges.items()}

    def _range(self, partition: int) -> RangeReport:
        """From the first offset that is anywhere to what the markers claim."""
        end = self._rows.end(partition)
        low, log_end = (
            (end, end) if self._log is None else self._log.bounds.get(partition, (end, end))
        )
        if not low < min(end, log_end):
            low = end
        first = [low, *(i.bounds()[partition][0] for i in self._indices if partition in i.bounds())]
        return RangeReport(partition, min(*first, end), end, low)

    def _check(self, partition: int, report: RangeReport) -> PartitionCheck:
        return PartitionCheck(
            self._setting,
            report,
            self._next[partition],
            self._rules_from.get(partition, _NOTHING),
            [g for g in self._rows.chain.gaps if g.partition == partition],
            self._ledger,
        )

    def run(
        self, log: LogPort, strip_rows: int, progress: Callable[[str], None]
    ) -> list[RangeReport]:
        """Look at every offset; what was checked how."""
        starts = {p: r.from_offset for p, r in self._ranges.items()}
        ends = {p: max(r.to_offset, self._dead.end(p)) for p, r in self._ranges.items()}
        total = max(1, sum(ends.values()) - sum(starts.values()))
        done = 0
        for strip in plan_strips(self._rows.groups, starts, ends, strip_rows):
            progress(f"{self._setting.rows_table}: offsets {100 * done // total} %")
            stored = [
                side.port.read(index.of(strip), side.facts.entries, side.schema, strip)
                for side, index in zip((self._rows, self._dead), self._indices, strict=True)
            ]
            for partition, (start, end) in strip.items():
                self._piece(log, partition, start, end, stored)
                done += end - start
        self._beyond(self._rows, self._indices[0])
        self._beyond(self._dead, self._indices[1])
        return list(self._ranges.values())

    def _piece(
        self, log: LogPort, partition: int, start: int, end: int, stored: Sequence[pa.Table]
    ) -> None:
        """One range: below the log, in it, and what dead letters are ahead of the rows' marker."""
        report, check = self._ranges[partition], self._checks[partition]
        log_end = 0 if self._log is None else self._log.bounds.get(partition, (0, 0))[1]
        read_to = min(end, report.to_offset, log_end)
        messages = None
        from_log = max(start, report.log_from)
        if from_log < read_to:
            found_from, messages = log.messages(partition, from_log, read_to)
            if found_from > from_log:  # retention was faster
                from_log = report.log_from = found_from
        cuts = [start, min(from_log, end), max(min(read_to, end), min(from_log, end)), end]
        rows, dead = stored
        if cuts[0] < cuts[1]:
            check.structure(*(_part(t, partition, cuts[0], cuts[1]) for t in (rows, dead)))
        if cuts[1] < cuts[2] and messages is not None:
            parts = [_part(t, partition, cuts[1], cuts[2]) for t in (rows, dead)]
            check.against(parts[0], parts[1], messages)
            report.holes += cuts[2] - cuts[1] - len(messages)
        if cuts[2] < cuts[3]:
            check.structure(*(_part(t, partition, cuts[2], cuts[3]) for t in (rows, dead)))

    def _beyond(self, side: Side, index: GroupIndex) -> None:
        """What is at or behind the table's own marker, in partitions that it doesn't name too."""
        schema = pa.schema(PROVENANCE_FIELDS)
        for partition, (_, highest) in sorted(index.bounds().items()):
            strip = {partition: (side.end(partition), _END)}
            if highest <= side.end(partition):
                continue
            for group in index.of(strip):
                found = side.port.read([group], side.facts.entries, schema, strip)
                entry = side.facts.entries[group.file]
                for start, end in runs(np.unique(found.column(OFFSET).to_numpy())):
                    text = (
                        f"offsets {start} to {end - 1} are in the table and beyond its marker: the "
                        "next sidecar reads them again and doubles them; put the marker of their "
                        "commit back"
                    )
                    self._ledger.add(
                        Finding(
                            "marker.behind",
                            side.facts.table,
                            text,
                            partition=partition,
                            from_offset=start,
                            to_offset=end,
                            file=entry.name,
                            snapshot_id=entry.added_by,
                        )
                    )

    # -- the end

    def conclude(self, reasons: Sequence[str]) -> None:
        """Say what was looked at, and compare what only the whole run knows."""
        ledger, setting = self._ledger, self._setting
        reasons = list(reasons)
        if setting.compacted:
            reasons.append("the topic is compacted: what the log no longer has is not missed there")
        for side in (self._rows, self._dead):
            table = side.facts.table
            for check in OFFSET_CHECKS:
                what = self._compared() if check in _WITH_LOG else f"{len(self._ranges)} partitions"
                if what:
                    ledger.looked(check, table, what)
            if reasons:
                ledger.skip_all(_WITH_LOG, table, "; ".join(reasons))
        judged_from = {p: self._judged_from(p) for p in self._ranges}
        setting.rows_claims.leave_out(judged_from)
        setting.rows_claims.check_counts(ledger)
        self._check_remembered()

    def _compared(self) -> str:
        """How much was compared with the log."""
        if self._log is None or not self._ranges:
            return ""
        offsets = sum(r.to_offset - r.log_from for r in self._ranges.values())
        return f"{offsets} offsets in {len(self._ranges)} partitions"

    def _judged_from(self, partition: int) -> int:
        if self._log is None or not self._setting.rules_hold or self._setting.compacted:
            return _END
        rules_from = self._rules_from.get(partition, _NOTHING)
        return max(self._ranges[partition].log_from, *rules_from)

    def _check_remembered(self) -> None:
        """The rule's memory as this run has it, and as the marker has it."""
        marker, table = self._rows.chain.marker, self._rows.facts.table
        if marker is None or not self._setting.rules_hold or self._log is None:
            self._ledger.skip("marker.remembered", table, "the rules could not be followed")
            return
        if not self._complete():
            reason = "rows that could not be checked would change it, see the other findings"
            self._ledger.skip("marker.remembered", table, reason)
            return
        self._ledger.looked("marker.remembered", table, f"{len(self._checks)} partitions")
        for partition, check in self._checks.items():
            self._compare_remembered(marker, partition, check)

    def _complete(self) -> bool:
        """Whether nothing disturbed the rule: no finding about rows or files, no compaction."""
        disturbing = ("offsets", "files", "marker.ahead", "marker.behind", "snapshot")
        return not any(f.check.startswith(disturbing) for f in self._ledger.findings)

    def _compare_remembered(self, marker: Marker, partition: int, check: PartitionCheck) -> None:
        found = check.remembered()
        for lane, promised in enumerate(marker.remembered.get(partition, ())):
            excused = found[lane][0] < self._known_from(partition, lane)
            if tuple(promised) == found[lane] or excused:
                continue
            text = (
                f"the marker remembers rows of lane {LANES[lane].name} from offset "
                f"{promised.from_offset}, by the rule it is {found[lane][0]}: after a restart "
                "duplicates may be kept or rows dropped; the marker was changed"
            )
            self._ledger.add(
                Finding(
                    "marker.remembered",
                    self._rows.facts.table,
                    text,
                    partition=partition,
                    from_offset=promised.from_offset,
                    to_offset=promised.from_offset + 1,
                )
            )

    def _known_from(self, partition: int, lane: int) -> int:
        """Below, commits that are no longer known may have had other rules."""
        claims = self._rows.chain.claims
        if not claims:
            return _END
        return 0 if claims[0].is_first else claims[0].after.next.get(partition, _NOTHING)[lane]


def _part(table: pa.Table, partition: int, start: int, end: int) -> Stored:
    """The rows of a range, by offset."""
    partitions, offsets = table.column(PARTITION).to_numpy(), table.column(OFFSET).to_numpy()
    at = np.flatnonzero((partitions == partition) & (offsets >= start) & (offsets < end))
    at = at[np.argsort(offsets[at], kind="stable")]
    mine = table.take(pa.array(at))
    files = mine.column(FILE).to_numpy().astype(np.int64)
    return Stored(mine.drop_columns([FILE]), offsets[at], files)
