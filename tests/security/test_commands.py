"""`highwater user`, and how the client commands log in."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from contract.settings import load
from flight_server.security.users_file import read_users
from highwater import access
from highwater.cli import main
from highwater.demo import DemoSettings
from tests.security.conftest import PASSWORD, TOKEN, World
from tests.support.secrets_fixture import Authority

if TYPE_CHECKING:
    from pathlib import Path


class Desk:
    """A folder with a users' file and files of secrets; `run` gives exit code, output and error."""

    def __init__(self, folder: Path, capsys: Any) -> None:
        self.users = folder / "users.json"
        self._folder = folder
        self._capsys = capsys

    def file(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text + "\n")
        return path

    def run(self, *argv: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv], {})
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def user(self, action: str, *argv: object) -> tuple[int, str, str]:
        return self.run("user", action, "--users-file", self.users, *argv)


@pytest.fixture
def desk(tmp_path: Path, capsys: Any) -> Desk:
    return Desk(tmp_path, capsys)


def test_a_user_is_added_listed_and_removed(desk: Desk) -> None:
    password = desk.file("password", PASSWORD)
    added = desk.user("add", "alice", "--tables", "trades,quotes", "--password-file", password)
    assert added[0] == 0
    assert desk.user("add", "root", "--role=admin", "--tables=*", "--login=none")[0] == 0

    listed = desk.user("list")[1].splitlines()
    found = read_users(desk.users, SystemClock()).by_name["alice"]

    assert [line.split() for line in listed[2:]] == [
        ["alice", "reader", "quotes,", "trades", "yes"],
        ["root", "admin", "*", "no"],
    ]
    assert found.password is not None
    assert found.password.matches(PASSWORD)
    assert stat.S_IMODE(desk.users.stat().st_mode) == 0o600
    assert PASSWORD not in desk.users.read_text() + added[1]
    assert desk.user("remove", "root")[0] == 0
    assert list(read_users(desk.users, SystemClock()).by_name) == ["alice"]


def test_a_token_is_shown_once_and_kept_as_a_hash(desk: Desk) -> None:
    desk.user("add", "robot", "--login=none")

    code, token, _ = desk.user("token", "robot", "--label", "ci")

    assert code == 0
    assert token.startswith("hwt_")
    assert len(token.strip()) == 47
    assert token.strip() not in desk.users.read_text()
    assert desk.user("token", "robot", "--label", "ci")[1] != token
    assert desk.user("token", "robot", "--label", "ci", "--remove")[0] == 0
    assert not read_users(desk.users, SystemClock()).by_digest


def test_a_user_that_is_there_is_changed_only_when_told_so(desk: Desk) -> None:
    password = desk.file("password", PASSWORD)
    desk.user("add", "alice", "--password-file", password)
    desk.user("token", "alice")

    refused = desk.user("add", "alice", "--tables=*", "--login=none")
    assert (refused[0], "--replace" in refused[2]) == (2, True)
    assert desk.user("add", "alice", "--tables=*", "--login=keep", "--replace")[0] == 0

    alice = read_users(desk.users, SystemClock()).by_name["alice"]
    assert alice.tables is None
    assert alice.tokens.keys() == {"default"}
    assert alice.password is not None
    assert alice.password.matches(PASSWORD)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["add", "a:b", "--login=none"], "without a colon"),
        (["add", "", "--login=none"], "name has"),
        (["add", "alice", "--tables=*,trades", "--login=none"], "alone"),
        (["add", "alice", "--password-file", "absent"], "No such file"),
        (["remove", "nobody"], "no user nobody"),
        (["token", "nobody"], "no user nobody"),
        (["token"], "no name given"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(desk: Desk, argv: list[str], says: str) -> None:
    code, _, error = desk.user(*argv)

    assert code == 2
    assert says in error
    assert len(error.splitlines()) == 1
    assert not desk.users.exists()


def test_a_short_password_is_refused_and_not_shown(desk: Desk) -> None:
    code, _, error = desk.user("add", "alice", "--password-file", desk.file("password", "hunter2"))

    assert code == 2
    assert "8 to 1024 bytes" in error
    assert "hunter2" not in error


def test_the_terminal_is_asked_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter([PASSWORD, PASSWORD, PASSWORD, "another one"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))

    assert desk.user("add", "alice")[0] == 0
    code, _, error = desk.user("add", "bob")

    assert (code, "differ" in error) == (2, True)
    assert list(read_users(desk.users, SystemClock()).by_name) == ["alice"]


def test_nobody_is_asked_where_there_is_no_terminal(desk: Desk) -> None:
    code, _, error = desk.user("add", "alice")

    assert (code, "--password-file" in error) == (2, True)


@pytest.fixture
def ask(desk: Desk, world: World, port: int) -> Any:
    """`highwater sql` over TLS with these flags."""

    def run(*argv: object, trust: Path = world.authority.cert) -> tuple[int, str, str]:
        flags = ["--uri", f"grpc+tls://127.0.0.1:{port}", "--format=csv"]
        return desk.run("sql", *flags, "--tls-ca", trust, *argv, "SELECT count(*) FROM trades")

    return run


def test_sql_logs_in_by_password_and_by_token(ask: Any, desk: Desk) -> None:
    password, token = desk.file("password", PASSWORD), desk.file("token", TOKEN)

    for flags in (("--user", "alice", "--password-file", password), ("--token-file", token)):
        code, out, _ = ask(*flags)

        assert code == 0
        assert out.split()[-1] == "100"


def test_sql_says_what_is_wrong_and_what_to_do(
    ask: Any, desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wrong, token = desk.file("wrong", "hunter2hunter2"), desk.file("token", TOKEN)
    other = Authority(tmp_path_factory.mktemp("other")).cert
    for flags, says in (
        ((), "log in"),
        (("--user", "alice", "--password-file", wrong), "password is wrong"),
        (("--token-file", wrong), "unknown or has expired"),
        (("--user", "alice", "--token-file", token), "takes the place"),
        (("--password-file", wrong), "needs --user"),
        (("--token-file", token, "--tls-cert", token), "belong together"),
        (("--token-file", token, "--tls-server-name", "elsewhere"), "--tls-server-name"),
    ):
        code, _, error = ask(*flags)
        assert (code, says in error, "hunter2" in error) == (2, True, False), (flags, error)
    code, _, error = ask("--token-file", token, trust=other)
    assert (code, "--tls-ca" in error) == (2, True)


def test_sql_in_clear_text_to_a_server_with_tls_gets_a_hint(desk: Desk, port: int) -> None:
    code, _, error = desk.run("sql", "--uri", f"grpc://127.0.0.1:{port}", "select 1")

    assert (code, "grpc+tls://" in error) == (1, True)


def test_demo_takes_the_same_settings(world: World, desk: Desk) -> None:
    argv = ["--user=alice", f"--password-file={desk.file('password', PASSWORD)}"]
    argv += [f"--tls-ca={world.authority.cert}"]

    options = access.driver_options(load(DemoSettings, "demo", argv, {}))

    assert options["username"] == "alice"
    assert options["password"] == PASSWORD
