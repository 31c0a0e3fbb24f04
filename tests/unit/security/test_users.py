"""The users' file: what it holds, who may read it, and what a change leaves behind."""

from __future__ import annotations

import json
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from contract.errors import OperatorError, RequestError
from flight_server.security.identity import Identity
from flight_server.security.users import (
    Users,
    checked_name,
    parse_users,
    render_users,
    tables_of,
)
from flight_server.security.users_file import change_users, read_users, watched_users
from tests.support.log_model import ManualClock
from tests.support.secrets_fixture import a_user, write_users

if TYPE_CHECKING:
    from pathlib import Path

ALICE = a_user("alice", ["trades"], password="correct horse", token="hwt_1")
ROOT = a_user("root", None, password="battery staple", admin=True)


def test_users_survive_the_file() -> None:
    users = Users({"alice": ALICE, "root": ROOT})

    assert parse_users(render_users(users)) == users
    assert users.by_digest[ALICE.tokens["test"]] is ALICE


def test_the_file_holds_no_secret() -> None:
    content = render_users(Users({"alice": ALICE}))

    assert b"correct horse" not in content
    assert b"hwt_1" not in content


def test_rights_become_an_identity() -> None:
    assert ALICE.identity == Identity("alice", frozenset({"trades"}))
    assert ROOT.identity == Identity("root", tables=None, admin=True)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("x", "role"),
        ({"role": "owner"}, "role"),
        ({"role": "reader", "tables": "trades"}, "list of names"),
        ({"role": "reader", "tables": ["*", "trades"]}, "alone"),
        ({"role": "reader", "password": "in clear words"}, "no hash"),
        ({"role": "reader", "tokens": {"a": "in clear words"}}, "wrong form"),
        ({"role": "reader", "tokens": "in clear words"}, "wrong form"),
    ],
)
def test_a_wrong_entry_is_named_and_not_shown(entry: object, says: str) -> None:
    content = json.dumps({"version": 1, "users": {"alice": entry}}).encode()

    with pytest.raises(RequestError, match=says) as refused:
        parse_users(content)

    assert "'alice'" in str(refused.value)
    assert "clear words" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 2}', b'{"version": 1}'])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(RequestError, match="users' file"):
        parse_users(content)


@pytest.mark.parametrize("name", ["", "a:b", "anonymous", "x" * 129, "a\nb", " a"])
def test_some_names_cannot_be_had(name: str) -> None:
    with pytest.raises(RequestError, match="name has"):
        checked_name(name)


def test_a_star_grants_all_tables() -> None:
    assert tables_of("*") is None
    assert tables_of(["*"]) is None
    assert tables_of([]) == frozenset()


def test_a_changed_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "users.json"
    clock = ManualClock()

    change_users(path, clock, lambda users: users.with_user(ALICE))
    change_users(path, clock, lambda users: users.with_user(ROOT))
    change_users(path, clock, lambda users: users.without("alice"))

    assert read_users(path, clock) == Users({"root": ROOT})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["users.json"]


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = write_users(tmp_path / "users.json", ALICE)

    def fail(_: Users) -> Users:
        raise RequestError("no")

    with pytest.raises(RequestError):
        change_users(path, ManualClock(), fail)

    assert read_users(path, ManualClock()) == Users({"alice": ALICE})
    assert [p.name for p in tmp_path.iterdir()] == ["users.json"]


def test_changes_at_once_all_count(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    names = [f"user{i}" for i in range(8)]

    def add(name: str) -> None:
        change_users(path, ManualClock(), lambda users: users.with_user(a_user(name)))

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(read_users(path, ManualClock()).by_name) == names


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_users(tmp_path / "users.json", ALICE)
    path.chmod(mode)

    with pytest.raises(OperatorError, match="chmod 600"):
        watched_users(path, ManualClock())


def test_an_absent_file_is_said_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"--users-file .*No such file"):
        watched_users(tmp_path / "users.json", ManualClock())


def test_a_change_counts_within_a_second(tmp_path: Path) -> None:
    path = write_users(tmp_path / "users.json", ALICE)
    clock = ManualClock()
    watched = watched_users(path, clock)

    change_users(path, clock, lambda users: users.without("alice").with_user(ROOT))
    assert list(watched.current().by_name) == ["alice"]
    clock.sleep(1.0)

    assert list(watched.current().by_name) == ["root"]


@pytest.mark.parametrize("spoil", ["text", "mode", "gone"])
def test_a_spoilt_file_leaves_what_was_in_force_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    path = write_users(tmp_path / "users.json", ALICE)
    clock = ManualClock()
    watched = watched_users(path, clock)

    if spoil == "text":
        path.write_text("{ half of it")
    elif spoil == "mode":
        path.chmod(0o644)
    else:
        path.unlink()
    for _ in range(3):
        clock.sleep(1.0)
        assert list(watched.current().by_name) == ["alice"]

    assert len([r for r in caplog.records if "stays in force" in r.getMessage()]) == 1
    assert "half of it" not in caplog.text
    path.unlink(missing_ok=True)
    write_users(path, ROOT)
    clock.sleep(1.0)
    assert list(watched.current().by_name) == ["root"]
