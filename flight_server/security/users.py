"""The users' file as a value: principals with their rights, and hashes of their secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from contract.errors import RequestError
from flight_server.security.identity import ANONYMOUS, Identity
from flight_server.security.passwords import PasswordHash

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
ALL_TABLES = "*"
ROLES = ("reader", "admin")
_NAME_CHARACTERS_MAX = 128
_DIGEST_HEX = 64


@dataclass(frozen=True)
class User:
    """One principal. Without a password it comes with a token, a JWT or a certificate only.

    `tokens`: label -> SHA-256 of the token.
    """

    name: str
    tables: frozenset[str] | None
    admin: bool = False
    password: PasswordHash | None = None
    tokens: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def identity(self) -> Identity:
        """What the rest of the server sees of it."""
        return Identity(self.name, self.tables, self.admin)

    @property
    def role(self) -> str:
        """In one word."""
        return "admin" if self.admin else "reader"


@dataclass(frozen=True)
class Users:
    """All principals, by name and by token."""

    by_name: Mapping[str, User] = field(default_factory=dict)

    @cached_property
    def by_digest(self) -> Mapping[bytes, User]:
        """The user of each static token, by its digest."""
        return {digest: u for u in self.by_name.values() for digest in u.tokens.values()}

    def with_user(self, user: User) -> Users:
        """With `user`, in place of the one of that name."""
        return Users({**self.by_name, user.name: user})

    def without(self, name: str) -> Users:
        """Without that user."""
        return Users({key: user for key, user in self.by_name.items() if key != name})


def checked_name(name: str) -> str:
    """`name`, if a principal can have it: Basic ends a name at its first colon."""
    if (
        not 0 < len(name) <= _NAME_CHARACTERS_MAX
        or not name.isprintable()
        or name != name.strip()
        or ":" in name
        or name == ANONYMOUS
    ):
        raise RequestError(
            f"a user's name has 1 to {_NAME_CHARACTERS_MAX} printable characters without a colon, "
            f"and is not {ANONYMOUS}"
        )
    return name


def tables_of(names: object) -> frozenset[str] | None:
    """The grant that a list of table names, or ALL_TABLES, stands for."""
    if names == ALL_TABLES or names == [ALL_TABLES]:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f'tables are a list of names, or "{ALL_TABLES}" for all')
    if ALL_TABLES in names:
        raise RequestError(f"{ALL_TABLES} stands for all tables, alone")
    return frozenset(names)


def parse_users(content: bytes) -> Users:
    """The users of a file. Raises RequestError with the user's name, never with a secret."""
    try:
        found = json.loads(content)
    except ValueError:
        raise RequestError("the users' file is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise RequestError(f"the users' file has not version {VERSION}")
    entries = found.get("users")
    if not isinstance(entries, dict):
        raise RequestError("the users' file has no users")
    return Users({name: _user(name, entry) for name, entry in entries.items()})


def render_users(users: Users) -> bytes:
    """The content of the file, in order of names."""
    entries = {name: _entry(user) for name, user in sorted(users.by_name.items())}
    return (json.dumps({"version": VERSION, "users": entries}, indent=2) + "\n").encode()


def _user(name: str, entry: object) -> User:
    if not isinstance(entry, dict) or entry.get("role") not in ROLES:
        raise RequestError(f"user {name!r}: the role is one of {', '.join(ROLES)}")
    try:
        password = entry.get("password")
        return User(
            checked_name(name),
            tables_of(entry.get("tables", [])),
            entry["role"] == "admin",
            None if password is None else PasswordHash.parse(str(password)),
            {str(k): _digest(v) for k, v in dict(entry.get("tokens", {})).items()},
        )
    except (RequestError, ValueError, TypeError) as error:
        reason = error if isinstance(error, RequestError) else "an entry has the wrong form"
        raise RequestError(f"user {name!r}: {reason}") from None


def _entry(user: User) -> dict[str, Any]:
    tables = ALL_TABLES if user.tables is None else sorted(user.tables)
    entry: dict[str, Any] = {"role": user.role, "tables": tables}
    if user.password is not None:
        entry["password"] = user.password.text
    if user.tokens:
        entry["tokens"] = {k: digest.hex() for k, digest in sorted(user.tokens.items())}
    return entry


def _digest(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _DIGEST_HEX:
        raise ValueError("not the digest of a token")
    return bytes.fromhex(text)
