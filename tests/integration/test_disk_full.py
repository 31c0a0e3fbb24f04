"""A full disk under the lake and the dead letters: nothing half-written stays or is committed."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from contract.definition import parse_definition
from contract.errors import UnavailableError
from contract.settings import CommonSettings
from ingest.iceberg_schema import rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.ports import Committed, Unavailable, Unknown
from tests.integration.test_commit_iceberg import MARKER
from tests.support.sidecar_world import TEXT
from tests.support.small_disk import Disk, InjectedDisk, can_mount, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = parse_definition(TEXT, "test")
DAY_US = 86_400_000_000


@pytest.fixture(params=["injected", "mounted"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Disk]:
    """A disk for the warehouse; where nothing can be mounted both are injected."""
    with contextlib.ExitStack() as stack:
        if request.param == "mounted" and can_mount():
            yield stack.enter_context(mounted(tmp_path / "disk", 4))
        else:
            yield InjectedDisk(tmp_path / "disk", monkeypatch)


@pytest.fixture
def table(disk: Disk, tmp_path: Path) -> Iterator[IcebergTable]:
    settings = CommonSettings(data_dir=tmp_path, warehouse=f"file://{disk.folder}/warehouse")
    catalog = open_catalog(settings)
    ids = (f"file-{i}" for i in itertools.count())
    made = IcebergTable(catalog, "public", rows_shape(DEFINITION), lambda: next(ids))
    made.ensure()
    yield made
    catalog.close()


def rows(count: int, days: int = 1) -> pa.Table:
    random = Random(1)
    made: list[dict[str, Any]] = [
        {
            "id": random.randbytes(100).hex(),
            "at": o % days * DAY_US,
            "price": o,
            "_partition": 0,
            "_offset": o,
            "_timestamp": o,
        }
        for o in range(count)
    ]
    return pa.Table.from_pylist(made, schema=DEFINITION.stored_schema)


def files(disk: Disk) -> list[str]:
    return sorted(str(p) for p in disk.folder.rglob("*.*") if p.is_file())


def test_a_file_that_finds_no_room_is_not_left_behind(disk: Disk, table: IcebergTable) -> None:
    before = files(disk)
    disk.fill()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="cannot be written"):
            table.write(rows(100))
    disk.free()

    assert files(disk) == before
    assert table.write(rows(100)).rows == 100


def test_of_files_of_several_days_none_is_left_when_one_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = InjectedDisk(tmp_path / "disk", monkeypatch)
    settings = CommonSettings(data_dir=tmp_path, warehouse=f"file://{disk.folder}/warehouse")
    catalog = open_catalog(settings)
    made = IcebergTable(catalog, "public", rows_shape(DEFINITION), lambda: "file")
    made.ensure()
    before = files(disk)
    disk.fill_after(files=2)

    with pytest.raises(UnavailableError, match="No space left"):
        made.write(rows(100, days=3))
    catalog.close()

    assert files(disk) == before


def test_a_commit_whose_manifests_find_no_room_is_not_sent(disk: Disk, table: IcebergTable) -> None:
    written = table.write(rows(100))
    disk.fill()
    before = table.head()
    outcome = table.commit(written, MARKER, before)
    disk.free()

    assert isinstance(outcome, Unavailable)
    assert table.head() == before
    assert not [f for f in files(disk) if Path(f).stat().st_size == 0]
    assert isinstance(table.commit(written, MARKER, table.head()), Committed)
    assert table.head().marker == MARKER


def test_a_commit_whose_metadata_finds_no_room_is_settled_by_reading_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = InjectedDisk(tmp_path / "disk", monkeypatch)
    settings = CommonSettings(data_dir=tmp_path, warehouse=f"file://{disk.folder}/warehouse")
    catalog = open_catalog(settings)
    made = IcebergTable(catalog, "public", rows_shape(DEFINITION), lambda: "file")
    made.ensure()
    written = made.write(rows(10))
    disk.fill_after(files=2)  # manifest and manifest list fit

    outcome = made.commit(written, MARKER, made.head())
    disk.free()
    head = made.head()
    again = made.commit(written, MARKER, head)
    catalog.close()

    assert isinstance(outcome, Unknown)
    assert head.marker is None
    assert isinstance(again, Committed)
