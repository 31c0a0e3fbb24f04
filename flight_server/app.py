"""The server as one object: built from settings, started, drained, stopped."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract import descriptors
from contract.definition import load_definition
from contract.errors import OperatorError
from contract.health import Code, Conditions
from contract.health_server import HealthServer, health_routes
from flight_server.catalog import open_catalog
from flight_server.lake.verify import LocalFileCheck
from flight_server.live_table import RunningTable
from flight_server.memory import give_back
from flight_server.metrics import MeasuredEngine, Metrics
from flight_server.protocol.limits import ProtocolLimits
from flight_server.query.engine import Engine
from flight_server.query.live import LiveTable
from flight_server.query.session import Session
from flight_server.query.system import System
from flight_server.running import Queries
from flight_server.security.listening import load_tls, location, warnings
from flight_server.security.setup import make_callers
from flight_server.server import HighwaterFlightServer
from flight_server.statements import HandleBounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract.clock import Clock
    from flight_server.config import ServeSettings
    from flight_server.query.types import LakeView
    from flight_server.security.callers import Callers
    from flight_server.security.listening import Tls

_log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TICK_S = 2.0

# Answers are exact whatever else holds: with one of these there are none.
BLOCKING = frozenset({Code.STOPPING, Code.NO_VIEW})


class Server:
    """Flight SQL over the live tables. It listens from construction on."""

    def __init__(
        self, settings: ServeSettings, clock: Clock, new_id: Callable[[], bytes], cores: int
    ) -> None:
        """Open everything.

        `new_id`: unguessable handles. `cores`: of this machine. Raises OperatorError if the port
        is taken, a definition is wrong, or the address needs TLS and users that are not there.
        """
        for warning in warnings(settings, settings.host):
            _log.warning("%s", warning)
        tls, callers = load_tls(settings), make_callers(settings, clock, new_id)
        self._conditions = Conditions("serve", BLOCKING, clock)
        session = Session(
            settings.memory_limit_bytes,
            settings.cores or cores,
            settings.statements_max,
            settings.spill_limit_bytes,
            clock,
        )
        queries = Queries(clock, settings.statement_limit_s)
        check = LocalFileCheck()
        boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        scratch_dir = settings.data_dir / "scratch"
        definitions = [load_definition(name) for name in settings.tables]
        with _written_below(settings.data_dir):
            frames = [LiveTable(session.ctx, d, scratch_dir, check) for d in definitions]
        catalog = open_catalog(settings)
        self._tables = {
            f.definition.name: RunningTable(
                f.definition,
                f,
                catalog,
                settings,
                clock,
                boot_id,
                self._conditions.of(f.definition.name),
            )
            for f in frames
        }
        system = System(session.ctx, settings, queries)
        engine = self._engine = Engine(session, frames, self._view, system, check, clock)
        metrics = Metrics(self._document)
        routes = {**health_routes(self._document), "/metrics": metrics.reply}
        self._health = HealthServer(settings.health_port, routes, clock)
        self._host, self._tls = settings.host, tls
        measured = MeasuredEngine(engine, metrics, clock)
        self._flight = self._listen(settings, measured, queries, clock, new_id, callers, tls)
        self._stopped = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="tick", daemon=True)

    @property
    def uri(self) -> str:
        """Where it listens."""
        return location(self._host, int(self._flight.port), self._tls)

    def start(self) -> None:
        """Begin to follow catalog and log."""
        for table in self._tables.values():
            table.start()
        self._ticking.start()
        self._health.start()

    def stop(self) -> bool:
        """End running statements, seal the tail, let everything go; False: a thread hangs."""
        self._stopped.set()
        self._conditions.of("").set(Code.STOPPING, "it was asked to stop")
        self._flight.shutdown()
        ended = [table.stop() for table in self._tables.values()]
        self._health.stop()
        return all(ended)

    def _view(self, table: str) -> LakeView:
        return self._tables[table].view()

    def _tick(self) -> None:
        while not self._stopped.wait(_TICK_S):
            self._flight.purge_expired()
            self._engine.purge()
            give_back()
            self._observe()

    def _observe(self) -> None:
        descriptors.check(self._conditions.of(""))
        for table in self._tables.values():
            table.observe()

    def _document(self) -> dict[str, Any]:
        self._observe()
        return self._conditions.document()

    @staticmethod
    def _listen(
        settings: ServeSettings,
        engine: MeasuredEngine,
        queries: Queries,
        clock: Clock,
        new_id: Callable[[], bytes],
        callers: Callers,
        tls: Tls | None,
    ) -> HighwaterFlightServer:
        limits = ProtocolLimits(
            streams_max=settings.statements_max,
            waiting_max=settings.statements_waiting_max,
            tickets=HandleBounds(settings.tickets_max),
            ticket_ttl_s=settings.ticket_ttl_s,
        )
        try:
            return HighwaterFlightServer(
                location(settings.host, settings.port, tls),
                engine,
                clock=clock,
                new_id=new_id,
                limits=limits,
                callers=callers,
                tls=tls,
                queries=queries,
            )
        except OSError as error:
            raise OperatorError(
                f"port {settings.port} cannot be listened on: choose another with --port"
            ) from error


@contextmanager
def _written_below(data_dir: Path) -> Iterator[None]:
    """Make the directory, and say in one line if nothing can be written there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OperatorError(f"--data-dir {data_dir} cannot be written: {reason}") from error
