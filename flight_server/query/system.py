"""The schema `system`: the statement's own views, as tables.

They show what the same statement reads, so `SELECT … FROM trades, system.cut` is its own proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.errors import NotFoundError
from contract.settings import shown
from contract.table import LANES, TIMESTAMP_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from datafusion import DataFrame, SessionContext

    from flight_server.query.pin import Pin
    from flight_server.query.types import LakeView
    from flight_server.running import Queries
    from flight_server.security.identity import Identity

    _Rows = Callable[[Pin, Identity], Iterator[tuple[Any, ...]]]

_TEXT = pa.string()
_INT = pa.int64()
_MILLISECONDS = pa.timestamp("ms", tz="UTC")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


SYSTEM_TABLES: Mapping[str, pa.Schema] = {
    "cut": _schema(
        table=_TEXT,
        partition=pa.int32(),
        lane=_TEXT,
        lake_next_offset=_INT,
        tail_end_offset=_INT,
        cut_offset=_INT,
        snapshot_id=_INT,
        commit_id=_TEXT,
        newest_timestamp=TIMESTAMP_TYPE,
        log_end_offset=_INT,
        state=_TEXT,
        reason=_TEXT,
    ),
    "snapshots": _schema(
        table=_TEXT,
        snapshot_id=_INT,
        parent_id=_INT,
        committed_at=_MILLISECONDS,
        operation=_TEXT,
        added_rows=_INT,
        total_rows=_INT,
        total_files=_INT,
        pinned=pa.bool_(),
    ),
    "tail_chunks": _schema(
        table=_TEXT,
        chunk=_INT,
        lane=_TEXT,
        partition=pa.int32(),
        from_offset=_INT,
        to_offset=_INT,
        rows=_INT,
        bytes=_INT,
        sealed=pa.bool_(),
    ),
    "gaps": _schema(
        table=_TEXT,
        partition=pa.int32(),
        from_offset=_INT,
        to_offset=_INT,
        reason=_TEXT,
        noted_at=_MILLISECONDS,
        lanes=_TEXT,
    ),
    "tables": _schema(table=_TEXT, available=pa.bool_(), reason=_TEXT),
    "queries": _schema(
        id=_INT,
        principal=_TEXT,
        sql=_TEXT,
        state=_TEXT,
        error=_TEXT,
        queued_at=_MILLISECONDS,
        started_at=_MILLISECONDS,
        ended_at=_MILLISECONDS,
        rows=_INT,
        bytes=_INT,
        peak_memory_bytes=_INT,
        spilled_bytes=_INT,
    ),
    "settings": _schema(name=_TEXT, value=_TEXT, unit=_TEXT, doc=_TEXT),
}


ADMIN_TABLES = frozenset({"settings"})


class System:
    """Makes the frames of the system tables."""

    def __init__(
        self, ctx: SessionContext, settings: object, queries: Queries | None = None
    ) -> None:
        """`settings`: the frozen dataclass that the server was started with."""
        self._ctx = ctx
        self._settings = settings
        self._rows: Mapping[str, _Rows] = {
            "cut": _each(_cut),
            "snapshots": _each(_snapshots),
            "tail_chunks": _each(_tail_chunks),
            "gaps": _each(_gaps),
            "tables": _tables,
            "queries": lambda _, reader: queries.rows(reader) if queries else iter(()),
            "settings": self._setting_rows,
        }

    def frame(self, name: str, pin: Pin, reader: Identity) -> DataFrame:
        """The rows of system table `name` for a statement of `reader` with this pin.

        It does not block. The pin holds what the reader may see, and nothing else.
        """
        if name not in self._rows:
            raise NotFoundError(f"there is no table system.{name}")
        schema = SYSTEM_TABLES[name]
        columns = list(zip(*self._rows[name](pin, reader), strict=True)) or [()] * len(schema)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        return self._ctx.read_batches([pa.RecordBatch.from_arrays(arrays, schema=schema)])

    def _setting_rows(self, _: Pin, __: Identity) -> Iterator[tuple[Any, ...]]:
        for item, value in shown(self._settings):
            yield item.name, value, item.unit, item.doc


def _each(
    rows: Callable[[str, LakeView], Iterator[tuple[Any, ...]]],
) -> _Rows:
    """The rows of every table that has a view."""

    def of_pin(pin: Pin, _: Identity) -> Iterator[tuple[Any, ...]]:
        for name, view in pin.available().items():
            yield from rows(name, view)

    return of_pin


def _cut(table: str, view: LakeView) -> Iterator[tuple[Any, ...]]:
    commit_id = view.marker.commit_id if view.marker else None
    for partition, cut in sorted(view.cut.items()):
        for lane in LANES:
            yield (
                table,
                partition,
                lane.name,
                view.next[partition][lane],
                view.hi.get(partition),
                cut[lane],
                view.lake.snapshot_id,
                commit_id,
                view.newest_us,
                view.ends.get(partition),
                view.state.value,
                view.reason,
            )


def _snapshots(table: str, view: LakeView) -> Iterator[tuple[Any, ...]]:
    for snapshot in view.lake.ancestry:
        summary = snapshot.summary
        yield (
            table,
            snapshot.snapshot_id,
            snapshot.parent_id,
            snapshot.committed_at_ms,
            snapshot.operation,
            _count(summary.get("added-records")),
            _count(summary.get("total-records")),
            _count(summary.get("total-data-files")),
            snapshot.snapshot_id == view.lake.snapshot_id,
        )


def _tail_chunks(table: str, view: LakeView) -> Iterator[tuple[Any, ...]]:
    for number, held in enumerate(view.held):
        for cut in held.chunks:
            chunk = cut.chunk
            for partition, (lo, hi) in sorted(chunk.ranges.items()):
                yield (
                    table,
                    number,
                    chunk.lane.name if chunk.lane is not None else None,
                    partition,
                    lo,
                    hi,
                    chunk.batch.num_rows,
                    chunk.batch.nbytes,
                    held.segment.number is not None,
                )


def _gaps(table: str, view: LakeView) -> Iterator[tuple[Any, ...]]:
    for gap in view.marker.gaps if view.marker else ():
        lanes = ",".join(lane.name for lane in gap.lanes)
        yield (
            table, gap.partition, gap.from_offset, gap.to_offset, gap.reason, gap.noted_at_ms, lanes
        )  # fmt: skip


def _tables(pin: Pin, _: Identity) -> Iterator[tuple[Any, ...]]:
    available = pin.available()
    for name, view in pin.views.items():
        yield name, name in available, "" if name in available else str(view)


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)
