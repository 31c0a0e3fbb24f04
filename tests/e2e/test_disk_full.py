"""A full disk below the real processes: nothing is lost, it is said, and it goes away by itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from contract.settings import CommonSettings
from ingest.iceberg_table import open_catalog
from tests.support.made_trades import POISON, made_trades
from tests.support.proof import counts, wait_for_code, wait_for_cut, wait_for_no_code
from tests.support.small_disk import Disk, LimitedProcess, can_mount, mounted
from tests.support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.broker import TopicFactory

FAST = ("--flush-interval-s=0.3", "--retry-max-s=0.5")


@pytest.fixture
def stack(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> Iterator[Stack]:
    made = Stack(tmp_path, bootstrap, new_topic())
    yield made
    made.stop()


def strangers(stack: Stack) -> set[str]:
    """Data files in storage that belong to no snapshot: what a failed attempt left behind."""
    data_dir = stack.folder / "data"
    catalog = open_catalog(CommonSettings(data_dir=data_dir))
    known: set[str] = set()
    for name in ("trades", "trades_dead"):
        files = catalog.load_table(f"public.{name}").inspect.files()
        known.update(path.removeprefix("file://") for path in files["file_path"].to_pylist())
    catalog.close()
    return {str(path) for path in data_dir.rglob("*.parquet")} - known - _scratch(data_dir)


def _scratch(data_dir: Path) -> set[str]:
    return {str(path) for path in (data_dir / "scratch").glob("*.parquet")}


@contextlib.contextmanager
def disk_for(stack: Stack, folder: Path, name: str, size_mib: int) -> Iterator[Disk]:
    """A small disk at this folder, or a limit for that process where nothing can be mounted."""
    if can_mount():
        with mounted(folder, size_mib) as disk:
            yield disk
            stack.stop()
    else:
        yield LimitedProcess(folder, lambda: stack.pid(name))


def test_a_full_disk_below_everything_is_waited_out(stack: Stack) -> None:
    with disk_for(stack, stack.folder / "data", "ingest", 64) as disk:
        stack.start("ingest", *FAST, stack.watched("ingest"))
        stack.start("serve", stack.watched("serve"))
        stack.produce([*made_trades(0, 500), POISON])
        stack.wait_for_rows(500, "trades_history")
        wait_for_no_code(stack, "ingest", "serve")

        disk.fill()
        stack.produce([*made_trades(500, 500), POISON])
        wait_for_code(stack, "ingest", "disk_full")
        full = wait_for_cut(stack, 1_002)
        assert stack.status("ingest")["ready"] is False
        assert stack.status("serve")["ready"] is True
        stack.produce(made_trades(1_000, 20_000, pad_bytes=1_000))
        more = wait_for_cut(stack, 21_002)
        if can_mount():
            wait_for_code(stack, "serve", "disk_full")
        disk.free()

        stack.wait_for_rows(21_000, "trades_history")
        wait_for_no_code(stack, "ingest", "serve")
        assert (full["lake"], more["lake"]) == (500, 500)
        assert counts(stack)["dead"] == 2
        assert strangers(stack) == set()


def test_rows_wait_for_the_dead_letters_whose_disk_is_full(stack: Stack) -> None:
    dead = stack.folder / "data" / "warehouse" / "public" / "trades_dead"
    with disk_for(stack, dead, "ingest", 8) as disk:
        stack.start("ingest", *FAST, stack.watched("ingest"))
        stack.start("serve")
        stack.produce([POISON, *made_trades(0, 500)])
        stack.wait_for_rows(500, "trades_history")

        disk.fill()
        stack.produce([*made_trades(500, 500), POISON])
        wait_for_code(stack, "ingest", "disk_full")
        waiting = wait_for_cut(stack, 1_002)
        (reason,) = stack.status("ingest")["reasons"]
        assert "table public.trades_dead" in reason["text"]
        assert str(stack.folder) not in reason["text"]
        disk.free()

        stack.wait_for_rows(1_000, "trades_history")
        wait_for_no_code(stack, "ingest")
        assert (waiting["lake"], waiting["tail"], waiting["dead"]) == (500, 500, 2)
        assert counts(stack)["dead"] == 2
        assert strangers(stack) == set()
