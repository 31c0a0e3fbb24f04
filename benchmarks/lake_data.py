"""A seeded lake of trades, written once with the sidecar's own writer and kept for later runs.

Files hold a stretch of time each, symbols follow Zipf's law, prices are rounded to cents, ids are
random. Row i has offset i // PARTITIONS of partition i % PARTITIONS.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.stack import BENCH, PARTITIONS, TRADES, say
from contract.marker import Marker
from contract.settings import CommonSettings
from contract.table import LANES
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.ports import Committed, Written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SYMBOLS = 50
TOPIC_ID = "bench"
_ZIPF = 1.1
_DAY_US = 86_400_000_000
_FROM_US = 1_762_128_000_000_000  # 2025-11-03, a Monday
_FILES_PER_COMMIT = 20
_VERSION = 1  # of what is generated; another one makes the kept data void
_EXCHANGES = ("XNAS", "XNYS", "BINANCE", "KRAKEN")


@dataclass(frozen=True, slots=True)
class LakeShape:
    """How much: `rows` in `files`, over `days` less half an hour; then the tail's rows follow."""

    rows: int
    files: int
    days: int
    seed: int = 7

    @property
    def lake_us(self) -> int:
        """Length of the lake's time."""
        return self.days * _DAY_US - _DAY_US // 48

    @property
    def end_us(self) -> int:
        """Where the lake's time ends and the tail's begins."""
        return _FROM_US + self.lake_us

    @property
    def name(self) -> str:
        """Folder of this data."""
        text = repr((self, _VERSION, TRADES.rules_digest, str(rows_shape(TRADES))))
        return f"lake-{self.rows}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def open_lake(shape: LakeShape) -> CommonSettings:
    """Settings of a data directory whose table holds the lake; makes it if there is none."""
    folder = BENCH / shape.name
    settings = CommonSettings(data_dir=folder)
    if (folder / "complete").exists():
        return settings
    say(f"generating {shape.rows:,} rows in {shape.files} files, once")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write(shape, settings)
    (folder / "complete").touch()
    return settings


def trades(shape: LakeShape, first: int, count: int, step_us: int | None = None) -> pa.Table:
    """Rows [first, first + count) in the stored schema; equal arguments give equal rows.

    `step_us`: time between them, counted from the lake's end, instead of the lake's own.
    """
    rng = np.random.default_rng((shape.seed, first))
    rows = np.arange(first, first + count, dtype=np.int64)
    times = _times(shape, rows, step_us, rng)
    symbols = _symbols(rng, count)
    # Each symbol's price wanders with time, so that neighbouring prices repeat, as real ones do.
    level = 1_000 + 40_000 // (1 + symbols)
    drift = np.sin(times / 3.6e9 + symbols) * level
    cents = (level * 100 + drift).astype(np.int64) + rng.integers(-20, 21, count)
    names = np.array([f"SYM{i:02d}" for i in range(SYMBOLS)])
    columns: dict[str, pa.Array] = {
        "message_id": _hex_ids(rng, count),
        "trade_id": pa.array(rows).cast(pa.string()),
        "symbol": _chosen(names, symbols),
        "exchange": _chosen(np.array(_EXCHANGES), rng.integers(0, len(_EXCHANGES), count)),
        "asset_class": _constant("equities", count),
        "timestamp": _timestamps(times),
        "price": _decimals(cents * 1_000_000),
        "quantity": _decimals(rng.integers(1, 500, count) * 100_000_000),
        "currency": _constant("USD", count),
        "side": _chosen(np.array(["BUY", "SELL"]), rng.integers(0, 2, count)),
        "trade_conditions": pa.ListArray.from_arrays(
            np.zeros(count + 1, np.int32), pa.array([], pa.string())
        ),
        "source_sequence": pa.array(rows),
        "ingestion_timestamp": _timestamps(times + 150),
        "platform_sequence": pa.nulls(count, pa.int64()),
        "vendor_data": pa.nulls(count, pa.map_(pa.string(), pa.string())),
        "_partition": pa.array((rows % PARTITIONS).astype(np.int32)),
        "_offset": pa.array(rows // PARTITIONS),
        "_timestamp": _timestamps(times // 1000 * 1000 + 1000),
    }
    schema = TRADES.stored_schema
    arrays = [columns[f.name].cast(f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def marker_at(rows: int) -> Marker:
    """The marker of a table that holds the first `rows` rows."""
    return Marker(
        topic=TRADES.topic,
        topic_id=TOPIC_ID,
        epoch=1,
        commit_id=f"rows-{rows}",
        next={p: (o,) * len(LANES) for p, o in next_offsets(rows).items()},
        remembered={},
        rows=rows,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=0,
        rules_digest=TRADES.rules_digest,
    )


def next_offsets(rows: int) -> dict[int, int]:
    """Per partition, the offset behind the first `rows` rows."""
    return {p: (rows - p + PARTITIONS - 1) // PARTITIONS for p in range(PARTITIONS)}


def _write(shape: LakeShape, settings: CommonSettings) -> None:
    catalog = open_catalog(settings)
    numbers: Iterator[str] = (f"bench-{i:06d}" for i in range(shape.files + 1))
    tables = [
        IcebergTable(catalog, "public", kind, lambda: next(numbers))
        for kind in (rows_shape(TRADES), dead_shape(TRADES))
    ]
    for table in tables:
        table.ensure()
    lake = tables[0]
    edges = np.linspace(0, shape.rows, shape.files + 1).astype(int)
    pending: list[Written] = []
    for number, (first, end) in enumerate(pairwise(edges.tolist()), 1):
        pending.append(lake.write(trades(shape, first, end - first)))
        if len(pending) == _FILES_PER_COMMIT or number == shape.files:
            _commit(lake, pending, end)
            pending = []
    catalog.close()


def _commit(lake: IcebergTable, pending: list[Written], rows: int) -> None:
    together = Written(
        rows=sum(w.rows for w in pending),
        files=sum(w.files for w in pending),
        size_bytes=sum(w.size_bytes for w in pending),
        handle=tuple(file for w in pending for file in w.handle),
    )
    outcome = lake.commit(together, marker_at(rows), lake.head())
    if not isinstance(outcome, Committed):
        raise SystemExit(f"the lake could not be made: {outcome}")


def _times(
    shape: LakeShape, rows: NDArray[np.int64], step_us: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Strictly growing, so that every TopK by time has one right answer."""
    if step_us is not None:
        return shape.end_us + (rows - shape.rows) * step_us
    spacing_us = shape.lake_us // shape.rows
    return _FROM_US + rows * spacing_us + rng.integers(0, spacing_us, len(rows))


def _symbols(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    weights = 1 / np.arange(1, SYMBOLS + 1) ** _ZIPF
    return rng.choice(SYMBOLS, count, p=weights / weights.sum()).astype(np.int64)


def _hex_ids(rng: np.random.Generator, count: int) -> pa.Array:
    text = pa.py_buffer(rng.bytes(16 * count).hex().encode())
    offsets = pa.py_buffer(np.arange(0, 32 * (count + 1), 32, dtype=np.int32))
    return pa.StringArray.from_buffers(count, offsets, text)


def _chosen(names: NDArray[np.str_], codes: NDArray[np.int64]) -> pa.Array:
    codes_32 = pa.array(codes.astype(np.int32))
    return pa.DictionaryArray.from_arrays(codes_32, pa.array(names.tolist())).cast(pa.string())


def _constant(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


def _timestamps(micros: NDArray[np.int64]) -> pa.Array:
    return pa.array(micros).view(pa.timestamp("us", tz="UTC"))


def _decimals(units: NDArray[np.int64]) -> pa.Array:
    """decimal(18,8) from hundred-millionths, none of which is negative."""
    words = np.zeros((len(units), 2), dtype=np.int64)
    words[:, 0] = units
    return pa.Array.from_buffers(pa.decimal128(18, 8), len(units), [None, pa.py_buffer(words)])


def lake_folder(settings: CommonSettings) -> Path:
    """Where the table's files are."""
    return Path(settings.warehouse.removeprefix("file://"))
