"""When a table is first read, and why it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from contract.errors import HighwaterError, OperatorError, UnavailableError
from flight_server.refresher import Refresher


@dataclass(frozen=True)
class Snapshot:
    """As much of a snapshot as is looked at."""

    marker: object | None
    table: str = "events"


class Table:
    """Gives what it is told to."""

    def __init__(self, now: Snapshot | HighwaterError) -> None:
        self.now = now

    def refresh(self) -> Snapshot:
        if isinstance(self.now, HighwaterError):
            raise self.now
        return self.now


def refresher_of(table: Table, published: list[Any]) -> Refresher:
    dead = cast("Any", Table(Snapshot(None)))
    return Refresher(cast("Any", table), dead, lambda *now: published.append(now[0]), 0.1)


def test_a_table_that_no_sidecar_has_claimed_is_not_read() -> None:
    published: list[Any] = []
    table = Table(UnavailableError("there is no table"))
    refresher = refresher_of(table, published)
    refresher.step()
    assert refresher.absent == "there is no table"

    table.now = Snapshot(None)
    refresher.step()
    assert refresher.absent == (
        "no sidecar has taken over table 'events' yet: start `highwater ingest`"
    )
    assert published == []

    table.now = Snapshot("a marker")
    refresher.step()
    assert refresher.absent == ""
    assert published == [table.now]


def test_a_table_that_was_read_stays_as_it_is_while_it_cannot_be_read() -> None:
    published: list[Any] = []
    table = Table(Snapshot("a marker"))
    refresher = refresher_of(table, published)
    refresher.step()

    for now in (Snapshot(None), OperatorError("it was dropped")):
        table.now = now
        refresher.step()

    assert refresher.absent == ""
    assert published == [Snapshot("a marker")]
