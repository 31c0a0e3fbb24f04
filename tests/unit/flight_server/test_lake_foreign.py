"""Rows that no log has: found in the files that may hold some, read once, told apart by places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from contract.table import OFFSET, PARTITION, PROVENANCE, PROVENANCE_FIELDS
from flight_server.lake import foreign
from flight_server.lake.foreign import ForeignReader, ForeignRows
from flight_server.lake.snapshot import DataFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

Place = tuple[int, int]  # partition, offset


class Lake:
    """Files as another tool may leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[tuple[str, list[Place] | None]] = []

    def add(self, places: Sequence[Place], *, bounds: bool = True, statistics: bool = True) -> None:
        """One file with two rows in a row group."""
        path = str(self.folder / f"{len(self.files)}.parquet")
        columns = [[p for p, _ in places], [o for _, o in places], [1_000 + o for _, o in places]]
        rows = pa.table(
            [pa.array(c, f.type) for c, f in zip(columns, PROVENANCE_FIELDS, strict=True)],
            names=list(PROVENANCE),
        )
        pq.write_table(rows, path, row_group_size=2, write_statistics=statistics)
        self.files.append((path, list(places) if bounds else None))

    def data_files(self) -> DataFiles:
        def bounds(at: int, kind: pa.DataType) -> tuple[pa.Array, pa.Array, pa.Array]:
            known = [None if p is None else [place[at] for place in p] for _, p in self.files]
            least = pa.array([None if v is None else min(v) for v in known], kind)
            greatest = pa.array([None if v is None else max(v) for v in known], kind)
            return least, greatest, pa.array([0] * len(known), pa.int64())

        paths = [path for path, _ in self.files]
        return DataFiles.of(
            paths, paths, [1] * len(paths), [1] * len(paths),
            {PARTITION: bounds(0, pa.int32()), OFFSET: bounds(1, pa.int64())},
        )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def found(rows: ForeignRows | None) -> list[Place]:
    assert rows is not None
    return list(zip(rows.partitions.tolist(), rows.offsets.tolist(), strict=True))


def read(lake: Lake, reader: ForeignReader | None = None) -> ForeignRows | None:
    return (reader or ForeignReader()).rows(PyArrowFileIO(), lake.data_files(), {0, 1})


def test_rows_of_other_partitions_are_found_wherever_they_lie(lake: Lake) -> None:
    lake.add([(0, 1), (1, 2)])
    lake.add([(-1, 9), (-1, 8)])
    lake.add([(0, 3), (0, 4), (-2, 1), (1, 5), (7, 3)])
    lake.add([(-1, 10), (0, 11)], bounds=False)
    lake.add([(1, 12), (-1, 11)], statistics=False)

    assert found(read(lake)) == [(-2, 1), (-1, 8), (-1, 9), (-1, 10), (-1, 11), (7, 3)]


def test_a_table_that_only_the_sidecar_writes_has_no_file_read(lake: Lake) -> None:
    lake.add([(0, 1), (1, 2)])
    Path(lake.files[0][0]).unlink()

    assert found(read(lake)) == []


def test_a_file_is_read_once(lake: Lake) -> None:
    lake.add([(-1, 9)])
    reader = ForeignReader()
    first = read(lake, reader)
    Path(lake.files[0][0]).unlink()

    assert found(read(lake, reader)) == found(first) == [(-1, 9)]


def test_what_cannot_be_read_or_is_too_much_is_unknown(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.add([(-1, 1), (-1, 2), (-1, 3)])
    monkeypatch.setattr(foreign, "ROWS_MAX", 2)
    assert read(lake) is None
    monkeypatch.setattr(foreign, "ROWS_MAX", 3)
    assert len(found(read(lake))) == 3
    monkeypatch.setattr(foreign, "FILES_MAX", 0)
    assert read(lake) is None
    monkeypatch.setattr(foreign, "FILES_MAX", 1)
    Path(lake.files[0][0]).unlink()
    assert read(lake) is None


def test_a_digest_is_of_the_places_and_not_of_the_files(lake: Lake, tmp_path: Path) -> None:
    lake.add([(-1, 1), (-1, 2)])
    lake.add([(-1, 3), (0, 1)])
    (tmp_path / "compacted").mkdir()
    compacted = Lake(tmp_path / "compacted")
    compacted.add([(0, 1), (-1, 3), (-1, 1), (-1, 2)])
    one, other = read(lake), read(compacted)
    assert one is not None
    assert other is not None

    assert one.everything == other.everything
    assert (one.everything.rows, one.everything.next) == (3, {-1: 4})
    assert one.below({-1: 3}) == other.below({-1: 3}) != one.everything
    assert one.below({-1: 3}).rows == 2
    assert one.below({-1: 3}).digest != one.everything.digest
