"""What a client is told when the engine runs out of disk or descriptors: real errors, sorted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import datafusion
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import HighwaterError, LimitError, UnavailableError
from flight_server.query.failures import from_engine
from tests.support.limits import no_descriptors
from tests.support.small_disk import can_mount, mounted

if TYPE_CHECKING:
    from pathlib import Path

# What the engine said where a file system can't be filled; a mounted one says it anew.
NO_ROOM = "Arrow error: Io error: failed to write spill: No space left on device (os error 28)"


def spilled_onto_a_full_disk(folder: Path) -> HighwaterError:
    with mounted(folder, 1) as disk:
        runtime = (
            datafusion.RuntimeEnvBuilder()
            .with_disk_manager_specified(str(disk.folder))
            .with_fair_spill_pool(40_000_000)
        )
        config = datafusion.SessionConfig().with_target_partitions(1)
        context = datafusion.SessionContext(config, runtime)
        rows = pa.table({"a": [os.urandom(500).hex() for _ in range(100_000)]})
        context.from_arrow(pa.Table.from_batches(rows.to_batches(max_chunksize=4_096)), "t")
        try:
            context.sql("SELECT a FROM t ORDER BY a").collect()
        except Exception as error:  # noqa: BLE001 - DataFusion raises this very class
            return from_engine(error)
    raise AssertionError("it had room")


def test_a_statement_that_finds_no_room_to_spill_is_told_to_ask_for_less(tmp_path: Path) -> None:
    found = spilled_onto_a_full_disk(tmp_path) if can_mount() else from_engine(Exception(NO_ROOM))

    assert isinstance(found, LimitError)
    assert "no room" in str(found)
    assert str(tmp_path) not in str(found)


def test_a_statement_that_finds_no_descriptor_may_be_asked_again(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "a.parquet")
    context = datafusion.SessionContext()
    frame = context.read_parquet(str(tmp_path / "a.parquet"))
    frame.collect()
    with no_descriptors(os.getpid()), pytest.raises(Exception, match="os error 24") as raised:
        frame.collect()

    found = from_engine(raised.value)
    assert isinstance(found, UnavailableError)
    assert "file descriptor" in str(found)
    assert str(tmp_path) not in str(found)


def test_words_of_a_statement_are_not_taken_for_an_error_of_the_system() -> None:
    found = from_engine(Exception("table 'No space left' not found"))

    assert not isinstance(found, LimitError)
