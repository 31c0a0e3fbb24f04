"""Messages that the table will never hold: the tail must forget that it has seen them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from contract.duplicates import CLOCK_START_US, Remembered
from contract.marker import Gap
from tests.support.log_model import ModelLog
from tests.support.view_model import ModelLake, Server, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def with_gap(lake: ModelLake, to_offset: int) -> None:
    """A commit that steps over the beginning of the log, and has read nothing else."""
    lake.commit({0: (to_offset,) * 3})
    rows, dead = lake.now
    assert rows.marker is not None
    nothing = (Remembered(to_offset, CLOCK_START_US),) * 3
    gap = Gap(0, 0, to_offset, "retention", 0)
    noted = replace(rows.marker, gaps=(gap,), remembered={0: nothing})
    lake.history[-1] = replace(rows, marker=noted), dead


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server over a log whose last row repeats the first one; the table has none of them."""
    log = ModelLog()
    for event_id in ("a", "b", "a"):
        log.event(0, event_id)
    made = Server(log, ModelLake(log), tmp_path)
    made.lake.commit({0: (0, 0, 0)})
    made.settle()
    yield made
    made.files.close()


def offsets(server: Server) -> list[int]:
    view = server.view()
    assert view is not None
    return [row[1] for row in rows_of(view.tail)]


def test_a_row_is_no_repetition_of_one_that_was_never_ingested(server: Server) -> None:
    assert offsets(server) == [0, 1]

    with_gap(server.lake, 1)
    server.settle()

    assert offsets(server) == [1, 2]


def test_files_that_were_sealed_before_the_gap_was_known_are_not_used(server: Server) -> None:
    server.seal_all()
    server.files.close()
    with_gap(server.lake, 1)

    server.start()
    server.settle()

    assert offsets(server) == [1, 2]
