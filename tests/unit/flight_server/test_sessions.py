from __future__ import annotations

import pytest

from contract.errors import LimitError, RequestError
from flight_server.options import DEFAULTS, OPTIONS, SCHEMA, TIME_ZONE, SessionOptions
from flight_server.protocol import cookies
from flight_server.sessions import SessionRef, Sessions
from tests.unit.flight_server.test_statements import HandClock

ONE, OTHER = SessionRef("1" * 32), SessionRef("2" * 32)


def _sessions(clock: HandClock, entries_max: int = 2) -> Sessions:
    return Sessions(entries_max=entries_max, ttl_s=10, bytes_max=64, clock=clock)


def test_defaults_are_in_force_and_shown_where_nothing_is_set() -> None:
    assert DEFAULTS[SCHEMA] == "public"
    assert DEFAULTS[TIME_ZONE] is None
    assert DEFAULTS.shown() == {
        "catalog": "highwater",
        "schema": "public",
        "highwater.timestamps": "zoned",
    }


def test_each_bad_option_is_refused_and_all_others_are_set() -> None:
    options, refused = DEFAULTS.changed(
        {SCHEMA: "system", TIME_ZONE: "Middle/Earth", "colour": "red", "catalog": 1}
    )

    assert options[SCHEMA] == "system"
    assert options[TIME_ZONE] is None
    assert {name: type(reason) for name, reason in refused.items()} == {
        TIME_ZONE: RequestError,
        "colour": type(None),
        "catalog": RequestError,
    }


def test_an_option_is_unset_by_no_value() -> None:
    options, _ = DEFAULTS.changed({SCHEMA: "system", TIME_ZONE: "UTC"})
    options, refused = options.changed({SCHEMA: None, TIME_ZONE: None})

    assert options == SessionOptions()
    assert not refused


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "+02:00", "-09:30", "+14:59"])
def test_time_zones_are_names_or_offsets(zone: str) -> None:
    assert OPTIONS[TIME_ZONE].parse(zone) == zone


@pytest.mark.parametrize(
    "zone",
    ["", "europe/berlin", "+2", "+02:60", "+15:00", "Factory", "../UTC", "'; DROP", 7, ("UTC",)],
)
def test_what_no_client_can_read_is_no_time_zone(zone: str) -> None:
    with pytest.raises(RequestError, match="no time zone"):
        OPTIONS[TIME_ZONE].parse(zone)


def test_sessions_are_apart_and_belong_to_their_principal() -> None:
    sessions = _sessions(HandClock())
    sessions.change("me", ONE, {SCHEMA: "system"})

    assert sessions.options("me", ONE)[SCHEMA] == "system"
    assert sessions.options("me", OTHER) == DEFAULTS
    assert sessions.options("you", ONE) == DEFAULTS


def test_asking_keeps_nothing() -> None:
    sessions = _sessions(HandClock())
    sessions.options("me", ONE)

    assert len(sessions) == 0


def test_a_session_lives_while_it_is_used() -> None:
    clock = HandClock()
    sessions = _sessions(clock)
    sessions.change("me", ONE, {SCHEMA: "system"})
    for _ in range(3):
        clock.sleep(9)
        assert sessions.options("me", ONE)[SCHEMA] == "system"
    clock.sleep(10)

    assert sessions.options("me", ONE) == DEFAULTS
    sessions.purge()
    assert len(sessions) == 0


def test_a_client_that_had_set_something_is_told_that_it_is_gone() -> None:
    sessions = _sessions(HandClock())

    with pytest.raises(RequestError, match="has expired"):
        sessions.options("me", SessionRef(ONE.session_id, set_something=True))


def test_over_the_bound_the_session_unused_for_longest_goes() -> None:
    sessions = _sessions(HandClock(), entries_max=2)
    sessions.change("me", ONE, {SCHEMA: "system"})
    sessions.change("me", OTHER, {SCHEMA: "system"})
    sessions.options("me", ONE)
    sessions.change("me", SessionRef("3" * 32), {SCHEMA: "system"})

    assert len(sessions) == 2
    assert sessions.options("me", ONE)[SCHEMA] == "system"
    assert sessions.options("me", OTHER) == DEFAULTS


def test_options_of_one_session_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = _sessions(HandClock())
    monkeypatch.setitem(OPTIONS, "x", OPTIONS[SCHEMA].__class__(str))

    with pytest.raises(LimitError, match="the most of a session is 64"):
        sessions.change("me", ONE, {"x": "y" * 64})
    assert sessions.options("me", ONE) == DEFAULTS


@pytest.mark.parametrize("set_something", [False, True])
def test_a_session_is_read_from_what_was_sent(set_something: bool) -> None:
    session = SessionRef("ab" * 16, set_something)
    cookie = cookies.headers_for(session)["set-cookie"].partition(";")[0]

    for text in (cookie, f"a=b; {cookie}; c=d", cookie.replace("=", '="') + '";$Path="/"'):
        assert cookies.from_headers({"cookie": [text]}) == session
    assert cookies.from_headers({"authorization": [cookies.token_for(session)]}) == session


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": ["arrow_flight_session_id=guess"]},
        {"cookie": ["x_arrow_flight_session_id=" + "a" * 32]},
        {"authorization": ["Bearer None"]},
        {"authorization": ["Basic YWxpY2U6cHc"]},
    ],
)
def test_anything_else_names_no_session(headers: dict[str, list[str]]) -> None:
    assert cookies.from_headers(headers) is None
