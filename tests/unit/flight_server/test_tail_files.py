"""Sealed segments: what a crash, another topic or another boot leaves is never served."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from contract.errors import OperatorError
from contract.table import LANES, Lane
from flight_server.tail.aligned_ipc import write_file
from flight_server.tail.files import TailFiles
from flight_server.tail.room import FullError
from tests.support.log_model import DEFINITION, Event, ModelLog, Poison
from tests.support.view_model import ModelLake, Server, check, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flight_server.tail.chunk import Segment


ROWS = 23


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that has read rows of all lanes and one reject, nothing sealed."""
    log = ModelLog()
    made = Server(log, ModelLake(log), tmp_path)
    for i in range(ROWS):
        log.event(0, f"a long enough id, number {i}", LANES[i % len(LANES)])
    log.produce(0, Poison(log.now_us), None)
    made.refresh()
    for _ in range(ROWS):
        made.follower.step()
    yield made
    made.files.close()


def load(server: Server, **other: str) -> list[Segment]:
    """What a fresh process finds in the directory."""
    server.files.close()
    boot_id = other.get("boot_id", server.boot_id)
    files = TailFiles(server.directory, DEFINITION, boot_id, server.cap_bytes)
    try:
        return files.load(other.get("topic_id", server.log.topic_id), 0.0)
    finally:
        files.close()


def arrow_files(server: Server) -> list[str]:
    return sorted(p.name for p in (server.directory / DEFINITION.name).glob("*.*"))


def test_a_sealed_segment_is_found_again_with_all_its_rows(server: Server) -> None:
    before = rows_of(server.publisher.current().tail)

    server.seal_all()
    sealed = server.publisher.current()
    found = load(server)

    assert rows_of(sealed.tail) == before
    assert rows_of([c.batch for s in found for c in s.chunks]) == before
    assert [s.rejects.batch.num_rows for s in found if s.rejects.batch.num_rows] == [1]
    assert found[-1].ranges[0][1] == server.log.end(0)


def test_every_buffer_of_a_mapped_chunk_is_aligned(server: Server) -> None:

    server.seal_all()

    addresses = [
        buffer.address
        for batch in server.publisher.current().tail
        for column in batch.columns
        for buffer in column.buffers()
        if buffer is not None and buffer.size
    ]
    assert {a % 64 for a in addresses} == {0}


def test_a_crash_before_the_rename_leaves_nothing_that_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.seal_all()
    sealed = arrow_files(server)
    real = write_file

    def killed(*args: object) -> int:
        real(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr("flight_server.tail.files.write_file", killed)
    server.log.event(0, "later")
    server.follower.step()
    with pytest.raises(KeyboardInterrupt):
        server.keeper.seal(everything=True)
    assert any(name.endswith(".tmp") for name in arrow_files(server))

    found = load(server)

    assert found
    assert arrow_files(server) == sealed


def test_lanes_without_their_head_do_not_exist(server: Server, tmp_path: Path) -> None:
    server.seal_all()
    for head in tmp_path.rglob("*.head.arrow"):
        head.unlink()

    assert load(server) == []
    assert arrow_files(server) == []


@pytest.mark.parametrize("part", ["0", "1", "2", "head"])
@pytest.mark.parametrize("kept_bytes", [0, 7, 1_000, -1])
def test_a_truncated_file_takes_its_segment_with_it(
    server: Server, tmp_path: Path, part: str, kept_bytes: int
) -> None:
    server.seal_all()
    del server.publisher
    gc.collect()
    number = max(tmp_path.rglob(f"*.{part}.arrow")).name.partition(".")[0]
    (file,) = tmp_path.rglob(f"{number}.{part}.arrow")
    file.write_bytes(file.read_bytes()[:kept_bytes])

    assert int(number) not in [s.number for s in load(server)]
    assert not [name for name in arrow_files(server) if name.startswith(number)]


@pytest.mark.parametrize("other", [{"boot_id": "boot-2"}, {"topic_id": "topic-2"}])
def test_files_of_another_boot_or_topic_are_removed(server: Server, other: dict[str, str]) -> None:
    server.seal_all()

    assert load(server, **other) == []
    assert arrow_files(server) == []


def test_a_file_of_another_segment_under_the_same_name_is_noticed(
    server: Server, tmp_path: Path
) -> None:
    server.seal_all()
    server.log.event(0, "later", Lane.HIGH)
    server.follower.step()
    server.seal_all()
    *_, first, second = sorted(tmp_path.rglob("*.0.arrow"))
    second.write_bytes(first.read_bytes())

    assert int(second.name.partition(".")[0]) not in [s.number for s in load(server)]


def test_a_view_reads_its_chunks_after_they_were_trimmed(server: Server) -> None:
    server.seal_all()
    pinned = server.publisher.current()

    server.lake.commit_all()
    server.refresh()
    server.keeper.step()

    assert arrow_files(server) == []
    assert server.files.byte_count == 0
    assert server.publisher.current().tail == ()
    check(pinned, server.log)


def test_one_lane_is_trimmed_while_another_is_deferred(server: Server) -> None:
    server.seal_all()
    end = server.log.end(0)

    server.lake.commit({0: (end, end, 0)})
    server.refresh()
    server.keeper.step()

    assert {name.split(".")[1] for name in arrow_files(server)} == {"2", "head"}
    check(server.publisher.current(), server.log)


def test_a_directory_has_one_server(server: Server, tmp_path: Path) -> None:

    with pytest.raises(OperatorError, match="another server holds the tail files of table"):
        TailFiles(tmp_path, DEFINITION, "boot-1", 1)
    server.files.close()
    TailFiles(tmp_path, DEFINITION, "boot-1", 1).close()


def test_nothing_is_written_above_the_cap(server: Server, tmp_path: Path) -> None:
    server.files.close()
    files = TailFiles(tmp_path, DEFINITION, "boot-1", cap_bytes=100)
    index = server.publisher.index()
    assert index is not None

    with pytest.raises(FullError):
        files.seal([h.segment for h in index.open], "topic-1")

    assert arrow_files(server) == []
    files.close()


def test_a_disk_without_room_is_not_an_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write_file
    calls: list[int] = []

    def no_room(*args: object) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("flight_server.tail.files.write_file", no_room)

    assert not server.keeper.seal(everything=True)
    assert arrow_files(server) == []
    server.clock.now_s += 2
    assert server.keeper.seal(everything=True)
    check(server.publisher.current(), server.log)


def test_the_description_says_what_the_file_is(server: Server, tmp_path: Path) -> None:
    server.seal_all()
    heads = [pa.ipc.open_file(str(head)) for head in tmp_path.rglob("*.head.arrow")]

    abouts = [json.loads(head.schema.metadata[b"highwater.tail"]) for head in heads]

    assert {about["topic_id"] for about in abouts} == {"topic-1"}
    assert {about["rules_digest"] for about in abouts} == {DEFINITION.rules_digest}
    assert sum(sum(about["rows"]) for about in abouts) == sum(
        isinstance(e, Event) for e in server.log.entries[0]
    )
