"""Real Iceberg tables on SQLite and local files, for tests of the lake side."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from contract.marker import MARKER_KEY, Marker

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyiceberg.table import Table

NAMESPACE = "public"

# One column of each type that a table can have; `id` says which row it is.
WIDE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("small", pa.int32()),
        pa.field("price", pa.decimal128(18, 8)),
        pa.field("symbol", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("local_at", pa.timestamp("us")),
        pa.field("day", pa.date32()),
        pa.field("ratio", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("raw", pa.binary()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("extra", pa.map_(pa.string(), pa.string())),
    ]
)

EPOCH = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@contextmanager
def lake_catalog(folder: Path, warehouse: str = "warehouse") -> Iterator[SqlCatalog]:
    """A catalog in `folder` whose tables lie in `folder/warehouse`; closed at the end."""
    (folder / warehouse).mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog(
        "highwater",
        uri=f"sqlite:///{folder / 'catalog.db'}",
        warehouse=f"file://{folder / warehouse}",
    )
    catalog.create_namespace_if_not_exists(NAMESPACE)
    try:
        yield catalog
    finally:
        catalog.close()


def create_table(
    catalog: SqlCatalog,
    name: str = "trades",
    schema: pa.Schema = WIDE_SCHEMA,
    properties: Mapping[str, str] | None = None,
) -> Table:
    """An empty table of our kind: one writer, no retries of the library."""
    return catalog.create_table(
        f"{NAMESPACE}.{name}",
        schema,
        properties={
            "format-version": "2",
            "commit.retry.num-retries": "0",
            **(properties or {}),
        },
    )


def a_marker(commit_id: str, next_offset: int = 10, epoch: int = 1) -> Marker:
    """A marker of one partition whose lanes all stand at `next_offset`."""
    return Marker(
        topic="trades",
        topic_id="topic-1",
        epoch=epoch,
        commit_id=commit_id,
        next={0: (next_offset,) * 3},
        remembered={},
        rows=1,
        dead_letters=0,
        tombstones=0,
        duplicates=0,
        schema_id=0,
        rules_digest="0",
    )


def append(table: Table, rows: pa.Table, marker: Marker | None = None) -> None:
    """Commit `rows`, with `marker` in the summary and in the properties, like the ingest."""
    if marker is None:
        table.append(rows)
        return
    with table.transaction() as transaction:
        transaction.append(rows, snapshot_properties={MARKER_KEY: marker.to_json()})
        transaction.set_properties({MARKER_KEY: marker.to_json()})


def wide_rows(rng: random.Random, first_id: int, count: int, spread: int = 50) -> pa.Table:
    """Rows of `WIDE_SCHEMA` around a centre of their own, so that files differ; with nulls."""
    centre = rng.randrange(0, 1_000)
    rows = [_wide_row(rng, first_id + i, centre, spread) for i in range(count)]
    return pa.Table.from_pylist(rows, schema=WIDE_SCHEMA)


def _wide_row(rng: random.Random, row_id: int, centre: int, spread: int) -> dict[str, Any]:
    def near() -> int:
        return centre + rng.randrange(-spread, spread)

    row: dict[str, Any] = {
        "small": near(),
        "price": Decimal(near()) / 8,
        "symbol": f"SYM-{near():05d}-with-a-long-tail-{rng.randrange(3)}",
        "at": EPOCH + dt.timedelta(minutes=near()),
        "local_at": EPOCH.replace(tzinfo=None) + dt.timedelta(minutes=near()),
        "day": EPOCH.date() + dt.timedelta(days=near()),
        "ratio": rng.choice([near() / 4, near() / 4, near() / 4, float("nan"), 0.0, -0.0]),
        "flag": rng.random() < 0.5,
        "raw": bytes([rng.randrange(256) for _ in range(3)]),
        "tags": [f"t{near()}", None],
        "extra": [("k", f"v{near()}")],
    }
    emptied = {key: None if rng.random() < 0.1 else value for key, value in row.items()}
    return {"id": row_id, **emptied}
