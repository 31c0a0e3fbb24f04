"""One partition of a table against the log, one range of offsets after the other. Pure.

Ranges come in ascending order. Below the log's first offset there is only the table to look at:
its rows are taken as right there, and bring the duplicate rule to where the log begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contract.table import LANES, OFFSET, TIMESTAMP
from highwater.verify.claims import NO_LANE
from highwater.verify.compare import differences
from highwater.verify.rule import LaneRule
from highwater.verify.stored import Setting, Stored, StoredCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from contract.log import RawBatch
    from contract.marker import Gap, NextByLane
    from highwater.verify.facts import RangeReport
    from highwater.verify.findings import Ledger

_DEAD_CONTENT = ("topic", TIMESTAMP, "key", "value")
_NAMED = 3  # columns of a difference that are named


@dataclass(frozen=True, slots=True)
class _Log:
    """The messages of a range. `kept`: by the rule; `claimed`: below their lane's next offset."""

    rows: pa.RecordBatch
    offsets: NDArray[np.int64]
    kept: NDArray[np.bool_]
    claimed: NDArray[np.bool_]
    judged: NDArray[np.bool_]  # whether the rule could be asked
    rejects: pa.RecordBatch
    reject_offsets: NDArray[np.int64]


class PartitionCheck:
    """The check of one partition. `rules_from`: per lane, where the present rules begin to hold."""

    def __init__(
        self,
        setting: Setting,
        report: RangeReport,
        next_by_lane: NextByLane,
        rules_from: NextByLane,
        gaps: Sequence[Gap],
        ledger: Ledger,
    ) -> None:
        self._setting = setting
        self._report = report
        self._stored = StoredCheck(setting, report.partition, next_by_lane, ledger)
        self._next = np.array(next_by_lane, np.int64)
        self._rules_from = np.array(rules_from, np.int64)
        self._gaps = gaps
        definition = setting.definition
        self._rules = [
            LaneRule(definition.duplicate_window_us, definition.duplicate_rows) for _ in LANES
        ]

    def structure(self, rows: Stored, dead: Stored) -> None:
        """A range that the log no longer holds."""
        rows, dead = self._stored.once(rows, dead)
        lanes = self._stored.lanes(rows.rows)
        self._stored.check_stored(rows, lanes, dead)
        if self._setting.rules_hold:
            seeds = self._seeds(rows.offsets, lanes)
            known = np.ones(int(seeds.sum()), bool)
            self._judge(rows.rows.filter(pa.array(seeds)), rows.offsets[seeds], lanes[seeds], known)
        self._report.structure_rows += len(rows.offsets)
        self._report.dead_letters += len(dead.offsets)

    def against(self, rows: Stored, dead: Stored, messages: RawBatch) -> None:
        """A range that the log holds, with all the messages that it delivers there."""
        rows, dead = self._stored.once(rows, dead)
        lanes = self._stored.lanes(rows.rows)
        self._stored.check_stored(rows, lanes, dead)
        log = self._log(messages, rows)
        self._compare_rows(log, rows)
        self._compare_dead(log, dead)
        self._report.log_rows += len(rows.offsets)
        self._report.dead_letters += len(dead.offsets)

    def remembered(self) -> list[tuple[int, int]]:
        """Per lane, offset and clock where the rule's memory begins, as a marker has them."""
        ends = self._next.tolist()
        return [rule.remembered(end) for rule, end in zip(self._rules, ends, strict=True)]

    # -- the log

    def _log(self, messages: RawBatch, stored: Stored) -> _Log:
        setting = self._setting
        decoded = setting.decoder.decode(messages)
        rows, rejects = decoded.rows, decoded.rejects
        offsets = _int64(rows.column(OFFSET))
        lanes = self._stored.lanes(pa.Table.from_batches([rows]))
        limit = self._next[lanes] if setting.rules_hold else self._next.max()
        claimed = offsets < limit
        judged = claimed & (offsets >= self._rules_from[lanes]) & setting.rules_hold
        kept = claimed & ~judged & np.isin(offsets, stored.offsets)
        if setting.rules_hold:
            kept[judged] = self._keep(
                rows.filter(pa.array(judged)), offsets[judged], lanes[judged], stored
            )
        log = _Log(rows, offsets, kept, claimed, judged, rejects, _int64(rejects.column(OFFSET)))
        self._count(log, lanes)
        return log

    def _seeds(self, offsets: NDArray[np.int64], lanes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Stored rows that the duplicate rule must know of."""
        seeds: NDArray[np.bool_] = (offsets >= self._rules_from[lanes]) & (
            offsets < self._next[lanes]
        )
        return seeds

    def _keep(
        self,
        rows: pa.RecordBatch,
        offsets: NDArray[np.int64],
        lanes: NDArray[np.int8],
        stored: Stored,
    ) -> NDArray[np.bool_]:
        """Ask the rule in log order; rows that compaction left to the table alone are kept ones."""
        if not self._setting.compacted:
            return self._judge(rows, offsets, lanes, np.zeros(len(offsets), bool))
        stored_lanes = self._stored.lanes(stored.rows)
        only = ~np.isin(stored.offsets, offsets) & self._seeds(stored.offsets, stored_lanes)
        columns = [self._setting.definition.message_id, TIMESTAMP]
        gone = stored.rows.filter(pa.array(only)).select(columns)
        both = pa.concat_tables([pa.Table.from_batches([rows]).select(columns), gone])
        both_offsets = np.concatenate([offsets, stored.offsets[only]])
        both_lanes = np.concatenate([lanes, stored_lanes[only]])
        known = np.arange(len(both_offsets)) >= len(offsets)
        order = np.argsort(both_offsets, kind="stable")
        verdicts = np.zeros(len(order), bool)
        verdicts[order] = self._judge(
            both.take(pa.array(order)), both_offsets[order], both_lanes[order], known[order]
        )
        return verdicts[: len(offsets)]

    def _judge(
        self,
        rows: pa.Table | pa.RecordBatch,
        offsets: NDArray[np.int64],
        lanes: NDArray[np.int8],
        known: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        ids = rows.column(self._setting.definition.message_id)
        timestamps_us = _int64(pc.cast(rows.column(TIMESTAMP), pa.int64()))
        verdicts = np.ones(len(offsets), bool)
        for lane, rule in enumerate(self._rules):
            mine = np.flatnonzero(lanes == lane)
            if len(mine):
                verdicts[mine] = rule.judge(
                    ids.take(pa.array(mine)).to_pylist(),
                    timestamps_us[mine].tolist(),
                    offsets[mine].tolist(),
                    known[mine].tolist(),
                )
        return verdicts

    def _count(self, log: _Log, lanes: NDArray[np.int8]) -> None:
        claims, partition = self._setting.rows_claims, self._report.partition
        duplicates = log.judged & ~log.kept
        self._report.duplicates += int(duplicates.sum())
        for lane in range(len(LANES)):
            mine = lanes == lane
            claims.count(claims.kept, partition, lane, log.offsets[mine & log.kept])
            claims.count(claims.duplicates, partition, lane, log.offsets[mine & duplicates])
        claims.count(claims.rejects, partition, NO_LANE, log.reject_offsets)

    def _compare_rows(self, log: _Log, stored: Stored) -> None:
        table = self._setting.rows_table
        in_table = np.isin(log.offsets, stored.offsets)
        lost = log.claimed & log.judged & log.kept & ~in_table
        lost &= ~self._in_gaps(log.offsets, self._stored.lanes(pa.Table.from_batches([log.rows])))
        text = (
            "is a row of the log that is not in the table, and no duplicate either: it is lost; "
            "roll back to before its commit and ingest again"
        )
        self._stored.find("offsets.complete", table, log.offsets[lost], text)
        self._report.unjudged += int((log.claimed & ~log.judged & ~in_table).sum())
        dropped = log.offsets[log.judged & ~log.kept & in_table]
        text = "is in the table although it is a duplicate of an earlier row: delete it"
        self._stored.find("offsets.expected", table, dropped, text, stored=stored)
        rejected = np.intersect1d(stored.offsets, log.reject_offsets)
        text = "is in the table, and the log has a message there that is no row: delete it"
        self._stored.find("offsets.expected", table, rejected, text, stored=stored)
        nothing = np.setdiff1d(stored.offsets, np.concatenate([log.offsets, log.reject_offsets]))
        if not self._setting.compacted:
            text = (
                "is in the table, and the log delivers no message there: the row stands at a wrong "
                "offset, or its message was aborted; compare it with its neighbours"
            )
            self._stored.find("offsets.expected", table, nothing, text, stored=stored)
        columns = self._setting.definition.stored_schema.names
        self._compare(table, stored, log.rows, log.offsets, columns)

    def _compare_dead(self, log: _Log, stored: Stored) -> None:
        table = self._setting.dead_table
        below = log.reject_offsets < self._next.max()  # they go with the foremost lane
        missing = np.setdiff1d(log.reject_offsets[below], stored.offsets)
        text = (
            "is a message that is no row, and its dead letter is lost: take the bytes from the "
            "topic while it still has them"
        )
        self._stored.find("offsets.complete", table, missing[~self._in_gaps(missing)], text)
        mine = np.intersect1d(stored.offsets, log.offsets)
        text = "is a dead letter, and the log has a good row there: the definition was another one"
        self._stored.find("offsets.expected", table, mine, text, stored=stored)
        nothing = np.setdiff1d(stored.offsets, np.concatenate([log.offsets, log.reject_offsets]))
        if not self._setting.compacted:
            text = "is a dead letter, and the log delivers no message there: its offset is wrong"
            self._stored.find("offsets.expected", table, nothing, text, stored=stored)
        self._compare(table, stored, log.rejects, log.reject_offsets, _DEAD_CONTENT)

    def _compare(
        self,
        table: str,
        stored: Stored,
        log_rows: pa.RecordBatch,
        log_offsets: NDArray[np.int64],
        columns: Sequence[str],
    ) -> None:
        """Full content of what both have."""
        shared, at, log_at = np.intersect1d(
            stored.offsets, log_offsets, assume_unique=True, return_indices=True
        )
        if not len(shared):
            return
        wanted = pa.Table.from_batches([log_rows]).take(pa.array(log_at))
        found = stored.rows.take(pa.array(at)).select(wanted.column_names).cast(wanted.schema)
        differing = differences(found, wanted, columns)
        if not differing:
            return
        names = ", ".join(list(differing)[:_NAMED])
        text = (
            f"differs from the log's message (column {names}): the row was changed, or stands at "
            "the offset of another message"
        )
        wrong = np.unique(np.concatenate(list(differing.values())))
        self._stored.find("offsets.content", table, shared[wrong], text, stored=stored)

    def _in_gaps(
        self, offsets: NDArray[np.int64], lanes: NDArray[np.int8] | None = None
    ) -> NDArray[np.bool_]:
        """Which offsets are noted as never read; None: of messages that are no rows."""
        inside = np.zeros(len(offsets), bool)
        for gap in self._gaps:
            of_gap = (offsets >= gap.from_offset) & (offsets < gap.to_offset)
            if not gap.of_all_lanes:
                of_gap &= False if lanes is None else np.isin(lanes, gap.lanes)
            inside |= of_gap
        return inside


def _int64(array: pa.Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = array.to_numpy()
    return values
