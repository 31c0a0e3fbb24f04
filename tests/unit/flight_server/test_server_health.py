"""What a server says of itself when its resources run out, and that it takes it back."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from contract.errors import OperatorError, UnavailableError
from contract.health import Code, Conditions
from flight_server.app import BLOCKING
from flight_server.app import Server as AppServer
from flight_server.config import ServeSettings
from flight_server.lake.pointer import TableMissingError
from flight_server.refresher import Refresher
from flight_server.tail import aligned_ipc
from flight_server.tail import files as tail_files
from flight_server.tail.files import TailFiles
from flight_server.tail.pace import FollowerLimits
from flight_server.view import State
from tests.support.log_model import DEFINITION, ManualClock, ModelLog
from tests.support.view_model import ModelLake, Server, check, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FULL = "flight_server.tail.files.write_file"


@pytest.fixture
def conditions() -> Conditions:
    return Conditions("serve", BLOCKING, ManualClock())


@pytest.fixture
def serve(tmp_path: Path, conditions: Conditions) -> Iterator[Callable[..., Server]]:
    """Makes a server over a log; they are closed at the end."""
    made: list[Server] = []

    def start(log: ModelLog, **options: Any) -> Server:
        health = conditions.of("events")
        made.append(Server(log, ModelLake(log), tmp_path, conditions=health, **options))
        return made[-1]

    yield start
    for each in made:
        each.files.close()


def codes(conditions: Conditions) -> list[str]:
    return [r["code"] for r in conditions.document()["reasons"]]


def a_log(count: int) -> ModelLog:
    log = ModelLog()
    for i in range(count):
        log.event(0, f"id-{i}")
    return log


class FailingDisk:
    """Stands in for the writing of tail files: fails with this number while it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        real = aligned_ipc.write_file

        def write(*args: Any) -> int:
            size = real(*args)
            if self.number:
                raise OSError(self.number, os.strerror(self.number))
            return size

        monkeypatch.setattr(FULL, write)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EMFILE, "out_of_descriptors"),
        (errno.EIO, "disk_failing"),
        (errno.EACCES, "disk_failing"),
    ],
)
def test_a_disk_that_takes_nothing_keeps_the_tail_in_memory_then_stalls_it(
    serve: Callable[..., Server],
    conditions: Conditions,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: str,
) -> None:
    disk = FailingDisk(monkeypatch)
    server = serve(a_log(40), limits=FollowerLimits(poll_messages=5, open_bytes=2_000))
    disk.number = number
    server.refresh()
    server.step(3, pause_s=6.0)
    early = server.publisher.current()
    assert codes(conditions) == [code]
    for i in range(200):
        server.log.event(0, f"later-{i}")
    server.step(100, pause_s=0.3)
    stalled = server.publisher.current()
    left = list((server.directory / DEFINITION.name).glob("*.*"))
    disk.number = 0

    after = server.settle()

    assert early.state is not State.STALLED
    assert rows_of(early.tail)
    assert (stalled.state, os.strerror(number) in stalled.reason) == (State.STALLED, True)
    assert min(stalled.cut[0]) < server.log.end(0)
    check(stalled, server.log)
    assert left == []
    assert codes(conditions) == []
    check(after, server.log)


def test_the_cap_of_the_tail_is_a_condition_until_a_commit_makes_room(
    serve: Callable[..., Server], conditions: Conditions
) -> None:
    limits = FollowerLimits(poll_messages=5, open_bytes=400)
    server = serve(a_log(400), cap_bytes=150_000, limits=limits)
    server.refresh()
    server.step(200, pause_s=0.3)
    assert codes(conditions) == ["tail_full"]

    server.lake.commit_all()
    server.settle()
    server.step(3, pause_s=2.0)

    assert codes(conditions) == []


def test_a_warm_start_without_free_descriptors_waits_and_keeps_its_files(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(a_log(10))
    server.settle()
    server.seal_all()
    names = sorted(p.name for p in (tmp_path / DEFINITION.name).iterdir())
    server.files.close()
    real = tail_files._mapped

    def no_descriptor(*_: object) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(tail_files, "_mapped", no_descriptor)
    server.start()
    server.refresh()
    server.step(3, pause_s=2.0)
    with pytest.raises(UnavailableError, match="no file descriptor is free"):
        server.publisher.current()
    monkeypatch.setattr(tail_files, "_mapped", real)

    check(server.settle(), server.log)
    assert sorted(p.name for p in (tmp_path / DEFINITION.name).iterdir()) == names


def test_a_tail_directory_that_cannot_be_made_needs_a_person(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OperatorError, match=r"below --data-dir \(Not a directory\)"):
        TailFiles(tmp_path / "file", DEFINITION, "boot-1", 10**9)


def test_a_start_on_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("flight_server.lake.scan.pq.write_table", no_room)
    settings = ServeSettings(data_dir=tmp_path / "data", port=0, health_port=0)

    with pytest.raises(OperatorError, match=r"--data-dir .* cannot be written: No space left"):
        AppServer(settings, ManualClock(), lambda: b"0" * 16, 1)


def test_a_broker_that_is_away_is_said_and_taken_back(
    serve: Callable[..., Server], conditions: Conditions
) -> None:
    server = serve(a_log(3))
    server.settle()
    server.log.down = True
    server.step(3, pause_s=1.0)
    assert codes(conditions) == ["broker_away"]
    assert conditions.document()["ready"] is True

    server.log.down = False
    server.step(3, pause_s=1.0)

    assert codes(conditions) == []


CLAIMED = SimpleNamespace(marker=object())


class Table:
    """A lake table whose next answer is set by the test."""

    def __init__(self) -> None:
        self.answer: Any = CLAIMED

    def refresh(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TableMissingError("no table yet"), "no_table"),
        (UnavailableError("the catalog did not answer"), "catalog_away"),
        (OperatorError("the table was dropped"), "failed"),
    ],
)
def test_what_the_refresher_meets_is_a_condition_until_it_succeeds(
    conditions: Conditions, error: Exception, code: str
) -> None:
    table: Any = Table()
    published: list[Any] = []
    refresher = Refresher(
        table, table, lambda *lake: published.append(lake), 0.1, conditions.of("events")
    )
    conditions.of("events").set(Code.TAIL_FULL, "somebody else's condition")
    table.answer = error
    refresher.step()
    assert codes(conditions) == [code, "tail_full"]

    table.answer = CLAIMED
    refresher.step()

    assert codes(conditions) == ["tail_full"]
    assert len(published) == 1
