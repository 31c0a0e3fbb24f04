"""How far the views of a statement must reach, and what happens where they do not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from contract.definition import load_definition
from contract.errors import (
    CancelledError,
    HighwaterError,
    NotFoundError,
    RequestError,
    UnavailableError,
)
from contract.table import LANES
from flight_server.cut.request import cut_request
from flight_server.query.pin import CLOCKS_APART_S, WAITS_MAX, Pin, Pinning
from flight_server.view import View
from tests.support.view_model import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

TRADES = load_definition("trades")
QUOTES = replace(TRADES, name="quotes", topic="quote-events")
NOW_US = 1_795_528_800_000_000


def view(offset: int, **changes: Any) -> View[ModelSnapshot]:
    """A view of one partition whose cut is this offset."""
    made: View[ModelSnapshot] = View(
        lake=ModelSnapshot(None, None),
        dead=None,
        marker=None,
        topic_id="topic-1",
        tail=(),
        dead_tail=(),
        next={0: (0,) * len(LANES)},
        dead_next={},
        hi={0: offset},
        cut={0: (offset,) * len(LANES)},
        ends={},
        newest_us=None,
        published_at_ms=0,
        held=(),
    )
    return replace(made, **changes)


@dataclass
class Tables:
    """What the server has, and its clock; `then` happens while a statement waits, one a look."""

    views: dict[str, Any]
    now_s: float = 0.0
    then: list[Callable[[], None]] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self.pinning = Pinning(self.view_of, self)

    def view_of(self, name: str) -> Any:
        found = self.views[name]
        if isinstance(found, HighwaterError):
            raise found
        return found

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return NOW_US / 1e6 + self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.looks += 1
        if self.then:
            self.then.pop(0)()

    def pin(
        self, sql: str | None = None, given_up: Callable[[], bool] = lambda: False, **words: str
    ) -> Pin:
        request = cut_request(words)
        assert request is not None
        return self.pinning.at(request, [TRADES, QUOTES], sql, given_up)


@pytest.fixture
def tables() -> Tables:
    return Tables({"trades": view(100), "quotes": view(5)})


def at(offset: int, table: str = "trades") -> str:
    """At least the message with this offset."""
    return json.dumps({table: {"0": offset}})


def test_a_cut_that_is_there_is_not_waited_for(tables: Tables) -> None:
    pin = tables.pin(at_least=at(99))

    assert tables.looks == 0
    assert pin.asked == {"form": "at_least", "reached": True, "reason": ""}
    assert pin.view("trades").cut == {0: (100,) * 3}


def test_a_cut_that_comes_in_time_is_taken_when_it_comes(tables: Tables) -> None:
    tables.then = [lambda: None, lambda: tables.views.update(trades=view(120))]
    pin = tables.pin(at_least=at(119))

    assert tables.looks == 2
    assert pin.view("trades").cut == {0: (120,) * 3}


def test_the_wait_ends_with_its_time_and_says_what_is_missing(tables: Tables) -> None:
    with pytest.raises(UnavailableError) as raised:
        tables.pin(at_least=at(100), wait_s="0.25")

    assert str(raised.value) == (
        "the cut asked for was not reached within 0.25 s: table 'trades': "
        "partition 0 stands at offset 100, asked for is 101"
    )
    assert 0.25 <= tables.now_s < 0.3


def test_by_policy_it_fails_at_once_or_answers_with_what_is_there(tables: Tables) -> None:
    with pytest.raises(UnavailableError, match="was not reached: table 'trades'"):
        tables.pin(at_least=at(100), policy="fail")
    assert tables.looks == 0
    pin = tables.pin(at_least=at(100), policy="stale", wait_s="0.1")

    assert tables.now_s >= 0.1
    assert pin.asked is not None
    assert pin.asked["reached"] is False
    assert "asked for is 101" in str(pin.asked["reason"])


def test_a_topic_names_its_table(tables: Tables) -> None:
    assert tables.pin(at_least=at(4, "quote-events")).asked is not None
    with pytest.raises(UnavailableError, match="table 'quotes': partition 0"):
        tables.pin(at_least=at(5, "quote-events"), policy="fail")


def test_tables_that_the_statement_cannot_name_are_not_waited_for(tables: Tables) -> None:
    far = at(1_000)

    assert tables.pin("SELECT 1", at_least=far).asked is not None
    assert tables.pin("SELECT * FROM quotes", at_least=far).asked is not None
    for sql in ("SELECT * FROM TRADES_tail", "SELECT * FROM system.cut", None):
        with pytest.raises(UnavailableError):
            tables.pin(sql, at_least=far, policy="fail")


def test_what_is_no_table_or_topic_is_refused(tables: Tables) -> None:
    with pytest.raises(NotFoundError, match="'tardes', which is no table or topic"):
        tables.pin(at_least=at(1, "tardes"))


def test_a_table_without_a_view_is_waited_for_too(tables: Tables) -> None:
    tables.views["trades"] = UnavailableError("the log is being read again")
    tables.then = [lambda: tables.views.update(trades=view(120))]

    assert tables.pin(at_least=at(1)).view("trades").cut == {0: (120,) * 3}
    tables.views["trades"] = UnavailableError("the log is being read again")
    with pytest.raises(UnavailableError, match=r"not reached within 0\.1 s: .*is being read again"):
        tables.pin(at_least=at(1), wait_s="0.1")


def test_who_has_gone_is_not_waited_for(tables: Tables) -> None:
    with pytest.raises(CancelledError):
        tables.pin(given_up=lambda: tables.looks > 2, at_least=at(1_000), wait_s="60")
    assert tables.looks == 3


def test_only_so_many_wait_at_once(tables: Tables) -> None:
    for _ in range(WAITS_MAX):
        tables.pinning._waits.acquire()
    assert tables.pin(at_least=at(1)).asked is not None
    with pytest.raises(UnavailableError, match="wait for a cut already"):
        tables.pin(at_least=at(1_000))
    tables.pinning._waits.release()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="was not reached within"):
            tables.pin(at_least=at(1_000), wait_s="0.01")


def test_a_broker_time_of_now_wants_the_logs_ends_of_after_the_question(tables: Tables) -> None:
    """Whoever saw the time saw its message in the log; the ends of before may lie below it."""
    tables.now_s = 50.0
    known = view(100, ends={0: 100}, ends_asked_s={0: 49.9})
    tables.views = {"trades": known, "quotes": known}
    now = str(NOW_US + 50_000_000)
    with pytest.raises(UnavailableError, match="the end of partition 0 at that time is not known"):
        tables.pin(at_least=now, policy="fail")
    behind = view(100, ends={0: 103}, ends_asked_s={0: 50.003})
    there = view(103, ends={0: 103}, ends_asked_s={0: 50.003})
    tables.then = [
        lambda: tables.views.update(trades=behind, quotes=behind),
        lambda: tables.views.update(trades=there, quotes=there),
    ]

    assert tables.pin(at_least=now).view("trades").cut == {0: (103,) * 3}
    assert tables.looks == 2


def test_of_a_broker_time_long_ago_earlier_ends_are_good_enough(tables: Tables) -> None:
    tables.now_s = 500.0
    for since_s, good in ((CLOCKS_APART_S + 1.0, True), (CLOCKS_APART_S - 1.0, False)):
        known = view(100, ends={0: 100}, ends_asked_s={0: 499.5})
        tables.views = {"trades": known, "quotes": known}
        time = str(NOW_US + int((500.0 - since_s) * 1e6))
        if good:
            assert tables.pin(at_least=time, policy="fail").asked is not None
        else:
            with pytest.raises(UnavailableError):
                tables.pin(at_least=time, policy="fail")


def test_a_broker_time_to_come_is_waited_for(tables: Tables) -> None:
    def know() -> None:
        seen = view(100, ends={0: 100}, ends_asked_s={0: tables.now_s})
        tables.views = {"trades": seen, "quotes": seen}

    tables.then = [know] * 1_000
    tables.pin(at_least=str(NOW_US + 1_000_000))

    assert 1.0 <= tables.now_s < 1.1


def test_offsets_of_another_topic_cannot_be_reached(tables: Tables) -> None:
    offsets = {"0": dict.fromkeys(("HIGH", "MEDIUM", "LOW"), 3)}
    table: dict[str, Any] = {
        "table_id": "t", "snapshot_id": None, "snapshot_sequence": 0, "topic_id": "topic-0",
        "rules": "", "cut": offsets, "lake": offsets, "gaps": [], "others": None,
        "newest_timestamp_us": None,
    }  # fmt: skip
    receipt = json.dumps({"format": 1, "tables": {"trades": table}})

    with pytest.raises(NotFoundError, match="of another topic of table 'trades'"):
        tables.pin(at_least=receipt)
    with pytest.raises(NotFoundError, match="of another topic of table 'trades'"):
        tables.pin(exactly=receipt)


def test_words_that_exclude_each_other_are_refused(tables: Tables) -> None:
    with pytest.raises(RequestError, match="exclude each other"):
        tables.pin(at_least=at(1), exactly=at(1))
