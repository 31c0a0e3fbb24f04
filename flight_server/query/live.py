"""The four public tables of one live table, as frames over its pinned view.

<table>          the payload columns of lake and tail
<table>_history  the lake's rows of the cut, with partition, offset and broker timestamp
<table>_tail     the tail's rows of the same cut, likewise
<table>_dead     the messages below the cut that could not be decoded, from lake and tail
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from datafusion import DataFrame, col, lit

from contract.errors import UnsupportedError
from contract.table import DEAD_SCHEMA, OFFSET, PARTITION, PROVENANCE
from flight_server.lake.prune import filters_by_scan, prune
from flight_server.lake.scan import LakeScan
from flight_server.lake.types import scan_schema
from flight_server.lake.verify import verify_files
from flight_server.query.live_at import RowsAt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from datafusion import Expr, SessionContext

    from contract.marker import NextOffsets
    from contract.table import TableDefinition
    from flight_server.lake.snapshot import LakeSnapshot
    from flight_server.lake.verify import FileCheck
    from flight_server.query.types import LakeView, ScanFiles

_SEED = "seed"

HISTORY = "_history"
TAIL = "_tail"
DEAD = "_dead"


class LiveTable:
    """Makes the frames; holds what does not change from statement to statement."""

    def __init__(
        self,
        ctx: SessionContext,
        definition: TableDefinition,
        scratch_dir: Path,
        check: FileCheck,
    ) -> None:
        """Prepare the scans; blocks."""
        self.definition = definition
        self._ctx = ctx
        self._scan = LakeScan(ctx, definition.stored_schema, scratch_dir)
        self._dead_scan = LakeScan(ctx, DEAD_SCHEMA, scratch_dir)
        self._check = check
        self._payload = [c.name for c in definition.columns]
        rules = definition.lane_rules
        lane_columns = {c for r in rules for c in (r.column, *r.product) if c is not None}
        self._seed_columns = sorted({definition.message_id, *PROVENANCE, *lane_columns})
        self._at = RowsAt(ctx, definition, self._scan)
        name = definition.name
        self._frames: Mapping[str, Callable[[LakeView, ScanFiles], DataFrame]] = {
            name: self._table,
            name + HISTORY: self._history,
            name + TAIL: self._tail,
            name + DEAD: self._dead,
        }

    def names(self) -> Sequence[str]:
        """The four names."""
        return tuple(self._frames)

    def frame(self, name: str, view: LakeView, lake: ScanFiles) -> DataFrame:
        """The rows of table `name` in this view; does not block.

        `lake(scan, scan_name, files)` decides which of the files are scanned.
        """
        return self._frames[name](view, lake)

    def schema(self, name: str) -> pa.Schema:
        """The columns of table `name`, in the engine's types."""
        if name == self.definition.name:
            return scan_schema(self.definition.payload_schema)
        if name == self.definition.name + DEAD:
            return self._dead_scan.schema
        return self._scan.schema

    def seed_rows(self, lake: LakeSnapshot, from_offsets: NextOffsets) -> Iterator[pa.RecordBatch]:
        """What the duplicate rule must read back: rows from these offsets on; blocks.

        Only the columns that the rule and the lanes need, in any order, and those of a lane that
        begins later as well.
        """
        wanted = _offsets({p: min(o) for p, o in from_offsets.items()}, at_or_after=True)
        if wanted is None or not len(_readable(lake).files):
            return
        frame = self._scan.frame(_SEED, lake.files).filter(wanted)
        files = prune(lake.files, filters_by_scan(frame.optimized_logical_plan()).get(_SEED))
        frame = self._scan.frame(_SEED, files).filter(wanted).select(*self._seed_columns)
        stream = frame.execute_stream()
        verify_files(files, self._check)
        for batch in stream:
            yield batch.to_pyarrow()

    def _table(self, view: LakeView, lake: ScanFiles) -> DataFrame:
        if view.asked is not None:
            _readable(view.lake)
            return self._at.table(view, self.definition.name, lake).select(*self._payload)
        files = _readable(view.lake).files
        if not len(files):
            return self._tail(view, lake).select(*self._payload)
        history = lake(self._scan, self.definition.name, files).select(*self._payload)
        if not view.tail:
            return history
        return history.union(self._ctx.read_batches(view.tail).select(*self._payload))

    def _history(self, view: LakeView, lake: ScanFiles) -> DataFrame:
        name = self.definition.name + HISTORY
        if view.asked is not None:
            _readable(view.lake)
            return self._at.history(view, name, lake)
        return lake(self._scan, name, _readable(view.lake).files)

    def _tail(self, view: LakeView, lake: ScanFiles) -> DataFrame:
        if view.asked is not None:
            _readable(view.lake)
            return self._at.tail(view, self.definition.name + TAIL, lake)
        return self._ctx.read_batches(view.tail or [_empty(self._scan.schema)])

    def _dead(self, view: LakeView, lake: ScanFiles) -> DataFrame:
        name = self.definition.name + DEAD
        # The sidecar may be ahead of the follower: what is not in the cut yet is left out.
        ahead = {p: view.dead_cut(p) for p in view.cut}
        below = _offsets(ahead, at_or_after=False)
        tail = self._ctx.read_batches(view.dead_tail or [_empty(self._dead_scan.schema)])
        if view.asked is not None:
            tail = tail.filter(lit(False) if below is None else below)
        if view.dead is None or not len(_readable(view.dead).files):
            return tail
        history = lake(self._dead_scan, name, view.dead.files)
        return (history if below is None else history.filter(below)).union(tail)


def _readable(lake: LakeSnapshot) -> LakeSnapshot:
    if lake.refused is not None:
        raise UnsupportedError(lake.refused)
    return lake


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _offsets(bounds: Mapping[int, int], *, at_or_after: bool) -> Expr | None:
    """Rows on one side of an offset in each partition; rows of other partitions are left out."""
    terms = [
        (col(PARTITION) == lit(pa.scalar(p, pa.int32())))
        & (
            col(OFFSET) >= lit(pa.scalar(o, pa.int64()))
            if at_or_after
            else col(OFFSET) < lit(pa.scalar(o, pa.int64()))
        )
        for p, o in sorted(bounds.items())
    ]
    return reduce(lambda a, b: a | b, terms) if terms else None
