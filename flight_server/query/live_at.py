"""The public tables of one live table at an earlier cut: what lake and tail of now hold of it.

Files that lie below the cut as a whole are scanned as ever; those beyond it are not. Only files
that a watermark crosses, and the tail, get a filter. So an old cut costs what its answer did.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from datafusion import col, lit, udf

from contract.errors import BugError
from contract.lanes import lanes_of
from contract.table import OFFSET, PARTITION
from flight_server.cut.span import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import DataFrame, Expr, SessionContext

    from contract.marker import NextOffsets
    from contract.table import TableDefinition
    from flight_server.lake.scan import LakeScan
    from flight_server.lake.snapshot import LakeSnapshot
    from flight_server.query.types import LakeView, ScanFiles

CROSSED = "#crossed"  # behind a scan's name: its files that a watermark crosses
_PLAIN_PARTITIONS_MAX = 64  # a longer filter takes longer to plan than rows take to look at


class RowsAt:
    """Makes the frames of one table's rows."""

    def __init__(self, ctx: SessionContext, definition: TableDefinition, scan: LakeScan) -> None:
        self._ctx = ctx
        self._definition = definition
        self._scan = scan
        rules = definition.lane_rules
        used = {c for rule in rules for c in (rule.column, *rule.product) if c is not None}
        self._lane_columns = [f for f in scan.schema if f.name in used]

    def table(self, view: LakeView, name: str, lake: ScanFiles) -> DataFrame:
        """All rows of the cut, with partition, offset and broker timestamp."""
        return self._rows(Span({}, view.cut, _others(view)), view, name, lake)

    def history(self, view: LakeView, name: str, lake: ScanFiles) -> DataFrame:
        """Those that were in the lake then."""
        return self._rows(Span({}, view.next, _others(view)), view, name, lake)

    def tail(self, view: LakeView, name: str, lake: ScanFiles) -> DataFrame:
        """Those that were in the tail then."""
        return self._rows(Span(view.next, view.cut, {}), view, name, lake)

    def _rows(self, span: Span, view: LakeView, name: str, lake: ScanFiles) -> DataFrame:
        files = view.lake.files
        split = span.split(files)
        wanted = self._wanted(span)
        frames = []
        if split.whole.any():
            frames.append(lake(self._scan, name, files.take(pa.array(split.whole))))
        if split.part.any():
            crossed = lake(self._scan, name + CROSSED, files.take(pa.array(split.part)))
            frames.append(crossed.filter(wanted))
        batches = view.tail if not _is_below(span.hi, view.lake) else ()
        if batches or not frames:
            empty = pa.RecordBatch.from_pylist([], schema=self._scan.schema)
            frames.append(self._ctx.read_batches(batches or [empty]).filter(wanted))
        return reduce(lambda a, b: a.union(b), frames)

    def _wanted(self, span: Span) -> Expr:
        if len(span.hi) <= _PLAIN_PARTITIONS_MAX and not span.needs_lanes:
            return _plain(span)
        return self._by_row(span)

    def _by_row(self, span: Span) -> Expr:
        """The lanes of rows decide: they are told by the same function as everywhere."""
        lane_fields = self._lane_columns if span.needs_lanes else []

        def holds(partitions: pa.Array, offsets: pa.Array, *lane_columns: pa.Array) -> pa.Array:
            lanes = self._lanes(lane_columns, len(offsets))
            places = [np.asarray(c.to_numpy(), np.int64) for c in (partitions, offsets)]
            return pa.array(span.holds(places[0], places[1], lanes))

        kinds = [pa.int32(), pa.int64(), *(f.type for f in lane_fields)]
        function = udf(holds, kinds, pa.bool_(), "immutable", "in_cut")
        columns = [PARTITION, OFFSET, *(f.name for f in lane_fields)]
        return _coarse(span) & function(*(col(name) for name in columns))

    def _lanes(
        self, columns: Sequence[pa.Array], rows: int
    ) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        if not columns:
            return np.zeros(rows, np.int8)
        plain = [c.cast(pa.string()) if pa.types.is_string_view(c.type) else c for c in columns]
        names = [f.name for f in self._lane_columns]
        return lanes_of(self._definition, pa.RecordBatch.from_arrays(plain, names=names))


def _others(view: LakeView) -> dict[int, int]:
    if view.asked is None or view.asked.others is None:
        raise BugError("a cut is made of a receipt whose foreign rows are known")
    return dict(view.asked.others.next)


def _is_below(hi: NextOffsets, lake: LakeSnapshot) -> bool:
    """Whether all of it is in the lake by now."""
    marker = lake.marker
    return marker is not None and all(
        all(
            end <= done
            for end, done in zip(ends, marker.next.get(p, (0,) * len(ends)), strict=True)
        )
        for p, ends in hi.items()
    )


def _plain(span: Span) -> Expr:
    """The filter where every lane of a partition ends at the same offset."""
    terms = []
    for partition in sorted(span.hi):
        (lo, *_), (hi, *_) = span.bounds(partition)
        if lo < hi:
            above = (col(OFFSET) >= _offset(lo)) if lo else lit(True)
            terms.append(
                (col(PARTITION) == _partition(partition)) & above & (col(OFFSET) < _offset(hi))
            )
    for partition, end in sorted(span.others.items()):
        terms.append((col(PARTITION) == _partition(partition)) & (col(OFFSET) < _offset(end)))
    return reduce(lambda a, b: a | b, terms) if terms else lit(False)


def _coarse(span: Span) -> Expr:
    """What every row of the span meets, for the statistics of row groups."""
    greatest = max((max(span.bounds(p)[1]) for p in span.hi), default=0)
    least = min((min(span.bounds(p)[0]) for p in span.hi), default=0)
    ends = [greatest, *span.others.values()]
    if span.others:
        return col(OFFSET) < _offset(max(ends))
    return (col(OFFSET) >= _offset(least)) & (col(OFFSET) < _offset(greatest))


def _partition(partition: int) -> Expr:
    return lit(pa.scalar(partition, pa.int32()))


def _offset(offset: int) -> Expr:
    return lit(pa.scalar(offset, pa.int64()))
