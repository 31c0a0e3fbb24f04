"""From the header of a call to who calls."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field

import pytest

from contract.errors import UnauthenticatedError, UnavailableError
from flight_server.security import authenticator as module
from flight_server.security.attempts import FREE, AttemptLimiter
from flight_server.security.authenticator import Authenticator, HashingSlots
from flight_server.security.identity import Identity
from flight_server.security.login_tokens import LoginTokens
from flight_server.security.passwords import PasswordHash
from flight_server.security.users import Users
from tests.support.log_model import ManualClock
from tests.support.secrets_fixture import CHEAP, a_user

ALICE = a_user("alice", ["trades"], password="correct: horse", token="hwt_static")
TOKEN_ONLY = a_user("robot", token="hwt_robot")
KEY = bytes(32)
CHEAP_DECOY = PasswordHash(CHEAP, bytes(16), bytes(32))


@pytest.fixture(autouse=True)
def cheap_decoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DECOY", CHEAP_DECOY)


@dataclass
class Door:
    clock: ManualClock = field(default_factory=ManualClock)
    users: Users = field(default_factory=lambda: Users({u.name: u for u in (ALICE, TOKEN_ONLY)}))
    slots: HashingSlots = field(default_factory=lambda: HashingSlots(2, 0.0))

    def __post_init__(self) -> None:
        self.authenticator = Authenticator(
            lambda: self.users,
            LoginTokens(self.clock, KEY, ttl_s=60),
            AttemptLimiter(self.clock, KEY),
            self.slots,
        )
        self.admit = self.authenticator.admit

    def refused(self, header: str | None) -> str:
        with pytest.raises(UnauthenticatedError) as refused:
            self.admit(header)
        return str(refused.value)


@pytest.fixture
def door() -> Door:
    return Door()


def basic(name: str, password: str, *, padded: bool = False) -> str:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return "Basic " + (text if padded else text.rstrip("="))


@pytest.mark.parametrize("password", ["correct: horse", "correct: horse1", "correct: horse12"])
@pytest.mark.parametrize("padded", [True, False])
def test_a_login_of_any_length_gets_a_token_that_opens(padded: bool, password: str) -> None:
    door = Door(users=Users({"alice": a_user("alice", ["trades"], password=password)}))

    admitted = door.admit(basic("alice", password, padded=padded))

    assert admitted.identity == Identity("alice", frozenset({"trades"}))
    assert door.admit(f"Bearer {admitted.token}").identity == admitted.identity
    assert door.admit(f"Bearer {admitted.token}").token == ""


def test_schemes_are_read_in_any_case(door: Door) -> None:
    token = door.admit(basic("alice", "correct: horse").replace("Basic", "bAsIc")).token

    assert door.admit(f"bearer {token}").identity.principal == "alice"


def test_static_tokens_open_without_a_login(door: Door) -> None:
    assert door.admit("Bearer hwt_static").identity.principal == "alice"
    assert door.admit("Bearer hwt_robot").identity.principal == "robot"


@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Digest x", "Bearer", "Bearer None", "Bearer a.b.c", "Negotiate"]
)
def test_nothing_known_is_refused(door: Door, header: str | None) -> None:
    assert "log in" in door.refused(header) or "wrong" in door.refused(header)


def test_all_wrong_logins_are_refused_in_the_same_words(door: Door) -> None:
    said = {
        door.refused(header)
        for header in (
            basic("alice", "wrong"),
            basic("nobody", "wrong"),
            basic("robot", ""),  # has no password
            basic("alice", "x" * 2_000),
            "Basic !!!",
            "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + base64.b64encode(b"no colon").decode(),
        )
    }

    assert said == {"the user or the password is wrong"}


def test_an_unknown_name_costs_the_same_hash(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[PasswordHash] = []

    def matches(self: PasswordHash, password: str) -> bool:
        hashed.append(self)
        return False

    monkeypatch.setattr(PasswordHash, "matches", matches)
    for name in ("alice", "nobody", "robot"):
        door.refused(basic(name, "wrong"))

    assert hashed == [ALICE.password, CHEAP_DECOY, CHEAP_DECOY]


def test_guessing_is_slowed_down_for_one_name_and_ends_with_time(door: Door) -> None:
    for name in ("alice", "nobody"):
        for _ in range(FREE):
            assert "wrong" in door.refused(basic(name, "guess"))
        assert "try again in 1 s" in door.refused(basic(name, "guess"))

    assert "try again" in door.refused(basic("alice", "correct: horse"))
    assert door.admit("Bearer hwt_static").identity.principal == "alice"
    door.clock.sleep(1.0)
    assert door.admit(basic("alice", "correct: horse")).token


def test_logins_beyond_the_slots_are_asked_to_come_again(door: Door) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with door.slots.taken():
            inside.set()
            assert leave.wait(10)

    holders = []
    for _ in range(2):
        inside.clear()
        holders.append(threading.Thread(target=hold))
        holders[-1].start()
        assert inside.wait(10)
    with pytest.raises(UnavailableError, match="try again"):
        door.admit(basic("alice", "correct: horse"))
    assert door.admit("Bearer hwt_static").identity.principal == "alice"
    leave.set()
    for holder in holders:
        holder.join()

    assert door.admit(basic("alice", "correct: horse")).token


def test_a_removed_user_is_out(door: Door) -> None:
    token = door.admit(basic("alice", "correct: horse")).token
    door.users = door.users.without("alice")

    for header in (f"Bearer {token}", "Bearer hwt_static"):
        assert "unknown or has expired" in door.refused(header)
