"""One engine and one server for the folder; each test has its own connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import flight

from tests.conformance.table import Recorder
from tests.support.flight_fixture import SmallEngine, connected, sample_engine, serving
from tests.support.joint import Joint, half_committed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    recorders = [p for p in config.pluginmanager.get_plugins() if isinstance(p, Recorder)]
    if not recorders:
        config.pluginmanager.register(Recorder(), "conformance")


@pytest.fixture(scope="session")
def recorder(pytestconfig: pytest.Config) -> Recorder:
    plugins = pytestconfig.pluginmanager.get_plugins()
    return next(plugin for plugin in plugins if isinstance(plugin, Recorder))


@pytest.fixture(scope="session")
def engine() -> SmallEngine:
    return sample_engine()


@pytest.fixture(scope="session")
def server(engine: SmallEngine) -> Iterator[Any]:
    with serving(engine) as running:
        yield running


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joint]:
    """The real engine over 200 messages, of which 100 are committed."""
    with half_committed(tmp_path_factory.mktemp("joint"), 200) as made:
        yield made


@pytest.fixture
def connection(server: Any) -> Iterator[Any]:
    with connected(server.port) as open_connection:
        yield open_connection


@pytest.fixture
def cursor(connection: Any) -> Iterator[Any]:
    with connection.cursor() as open_cursor:
        yield open_cursor


@pytest.fixture
def client(server: Any) -> Iterator[flight.FlightClient]:
    with flight.connect(f"grpc://127.0.0.1:{server.port}") as open_client:
        yield open_client
