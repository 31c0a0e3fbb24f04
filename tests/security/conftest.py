"""A real table, users, and an authority that issues certificates: made once for the folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from flight_server.running import Queries
from flight_server.security.config import SecuritySettings
from tests.support.flight_fixture import serving
from tests.support.joint import Joint, make_joint, sample_messages
from tests.support.secrets_fixture import Authority, Pem, a_user, write_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

PASSWORD, TOKEN = "correct horse battery", "hwt_static-token-of-the-tests"


@dataclass(frozen=True)
class World:
    """`settings` have TLS and users: alice may read trades, sue quotes, root everything."""

    folder: Path
    authority: Authority
    server: Pem
    settings: SecuritySettings
    serve: Callable[..., AbstractContextManager[Any]]

    def changed(self, **changes: Any) -> SecuritySettings:
        return replace(self.settings, **changes)


@pytest.fixture(scope="session")
def queries() -> Queries:
    """What runs on the server of `port`, as system.queries shows it."""
    return Queries(SystemClock())


@pytest.fixture(scope="session")
def joint(tmp_path_factory: pytest.TempPathFactory, queries: Queries) -> Iterator[Joint]:
    """100 trades, half of them in the lake."""
    made = make_joint(tmp_path_factory.mktemp("joint"), queries=queries)
    messages = sample_messages()[:100]
    made.follow(messages, 0)
    made.commit(messages[:50], 0)
    made.refresh()
    yield made
    made.catalog.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, joint: Joint) -> World:
    folder = tmp_path_factory.mktemp("security")
    authority = Authority(folder)
    server = authority.issue("highwater.test", server=True)
    users = write_users(
        folder / "users.json",
        a_user("alice", ["trades"], password=PASSWORD, token=TOKEN),
        a_user("sue", ["quotes"], password=PASSWORD),
        a_user("root", None, password=PASSWORD, admin=True),
    )
    settings = SecuritySettings(tls_cert=server.cert, tls_key=server.key, users_file=users)

    def serve(security: SecuritySettings = settings, **options: Any) -> Any:
        return serving(joint.engine, security=security, **options)

    return World(folder, authority, server, settings, serve)


@pytest.fixture(scope="session")
def port(world: World, queries: Queries) -> Iterator[int]:
    """Of a server with TLS and users."""
    with world.serve(queries=queries) as server:
        yield server.port
