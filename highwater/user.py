"""`highwater user`: who may log in to the server, and what each may read.

The server notices a change within a second.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from contract.clock import SystemClock
from contract.errors import RequestError
from contract.settings import load, setting
from flight_server.security.authenticator import STATIC_PREFIX
from flight_server.security.passwords import (
    SALT_BYTES,
    TOKEN_BYTES,
    PasswordHash,
    checked_password,
    token_digest,
    urlsafe,
)
from flight_server.security.users import ALL_TABLES, ROLES, User, Users, checked_name, tables_of
from flight_server.security.users_file import change_users, read_users
from highwater.access import asked_password, first_line
from highwater.output import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGINS = ("password", "none", "keep")
_LABEL = "default"
_USAGE = """\
usage: highwater user ACTION ...

  add      a user with its role and tables, and its password
  list     the users and what they may read; no secret is shown
  remove   a user, whose tokens end with it
  token    make a bearer token for a user, which is shown once

highwater user ACTION --help shows its settings.
"""


@dataclass(frozen=True)
class UserListSettings:
    """Show the users and what they may read."""

    users_file: Path = setting(Path("users.json"), doc="File of the users, made with mode 0600")


@dataclass(frozen=True)
class UserAddSettings(UserListSettings):
    """Add a user, with a password that the terminal is asked for."""

    name: str = setting("", doc="Name of the user", positional=True)
    role: str = setting("reader", doc="admin: sees settings and all statements", choices=ROLES)
    tables: tuple[str, ...] = setting(
        (), doc=f"Tables that it may read, by name; {ALL_TABLES} for all"
    )
    password_file: Path | None = setting(None, doc="File whose first line is the password")
    login: str = setting(
        "password",
        doc="Whether it can log in with a password; without one it comes with a token, a JWT or a "
        "certificate; keep leaves it as it is",
        choices=LOGINS,
    )
    replace: bool = setting(False, doc="Change a user that is there; its tokens stay")


@dataclass(frozen=True)
class UserRemoveSettings(UserListSettings):
    """Remove a user."""

    name: str = setting("", doc="Name of the user", positional=True)


@dataclass(frozen=True)
class UserTokenSettings(UserListSettings):
    """Make a bearer token for a user; it is shown once and kept as a hash."""

    name: str = setting("", doc="Name of the user", positional=True)
    label: str = setting(_LABEL, doc="What the token is called; an older one of it ends")
    remove: bool = setting(False, doc="End the token of that label instead")


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run one action. Raises RequestError and OperatorError for what cannot be done."""
    action, rest = (argv[0], argv[1:]) if argv else ("", [])
    if action in {"--help", "-h"}:
        sys.stdout.write(_USAGE)
        return 0
    if action == "list":
        _list(load(UserListSettings, "user list", rest, environ))
    elif action == "add":
        _add(load(UserAddSettings, "user add", rest, environ))
    elif action == "remove":
        _remove(load(UserRemoveSettings, "user remove", rest, environ))
    elif action == "token":
        _token(load(UserTokenSettings, "user token", rest, environ))
    else:
        raise RequestError(f"user {action or '(nothing)'}: it is one of add, list, remove, token")
    return 0


def _list(settings: UserListSettings) -> None:
    users = read_users(settings.users_file, SystemClock())
    rows = [
        {
            "user": user.name,
            "role": user.role,
            "tables": ALL_TABLES if user.tables is None else ", ".join(sorted(user.tables)),
            "password": "yes" if user.password else "no",
            "tokens": ", ".join(sorted(user.tokens)),
        }
        for _, user in sorted(users.by_name.items())
    ]
    schema = pa.schema([(n, pa.string()) for n in ("user", "role", "tables", "password", "tokens")])
    print(aligned(pa.Table.from_pylist(rows, schema=schema)).rstrip())


def _add(settings: UserAddSettings) -> None:
    name = checked_name(settings.name)
    tables = tables_of(list(settings.tables))
    if not settings.replace or settings.login == "keep":
        _known(settings.users_file, name, wanted=settings.replace)
    password = _new_password(settings) if settings.login == "password" else None

    def added(users: Users) -> Users:
        old = users.by_name.get(name)
        if old is not None and not settings.replace:
            raise RequestError(f"there is a user {name}: --replace changes it")
        user = User(name, tables, settings.role == "admin", password)
        if old is not None:
            kept = old.password if settings.login == "keep" else password
            user = replace(user, password=kept, tokens=old.tokens)
        return users.with_user(user)

    change_users(settings.users_file, SystemClock(), added)
    print(
        f"{name} is in {settings.users_file}: `highwater serve --users-file "
        f"{settings.users_file}` asks everybody to log in"
    )


def _remove(settings: UserRemoveSettings) -> None:
    _known(settings.users_file, settings.name, wanted=True)
    change_users(settings.users_file, SystemClock(), lambda users: users.without(settings.name))
    print(f"{settings.name} is removed")


def _token(settings: UserTokenSettings) -> None:
    _known(settings.users_file, settings.name, wanted=True)
    token = STATIC_PREFIX + urlsafe(secrets.token_bytes(TOKEN_BYTES))
    kept = {} if settings.remove else {settings.label: token_digest(token)}

    def changed(users: Users) -> Users:
        user = users.by_name[settings.name]
        others = {k: digest for k, digest in user.tokens.items() if k != settings.label}
        if settings.remove and len(others) == len(user.tokens):
            raise RequestError(f"{settings.name} has no token {settings.label}")
        return users.with_user(replace(user, tokens=others | kept))

    change_users(settings.users_file, SystemClock(), changed)
    print(f"token {settings.label} of {settings.name} is removed" if settings.remove else token)


def _known(path: Path, name: str, *, wanted: bool) -> None:
    """Refuse early what cannot be, before somebody types a password."""
    there = name in read_users(path, SystemClock()).by_name
    if there and not wanted:
        raise RequestError(f"there is a user {name}: --replace changes it")
    if wanted and not there:
        raise RequestError(f"there is no user {name or '(no name given)'} in {path}")


def _new_password(settings: UserAddSettings) -> PasswordHash:
    if settings.password_file is not None:
        password = first_line("--password-file", settings.password_file)
    else:
        password = asked_password(f"new password of {settings.name}: ")
        if asked_password("once more: ") != password:
            raise RequestError("the two passwords differ")
    return PasswordHash.of(checked_password(password), secrets.token_bytes(SALT_BYTES))
