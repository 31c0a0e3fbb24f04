"""Broker, feed, sidecar and server of one audit, in a directory of their own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from highwater.audit.processes import Process, cpu_s_of
from highwater.audit.script import Script
from ingest.broker import EmbeddedBroker
from ingest.kafka.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from contract.clock import Clock
    from highwater.audit.config import AuditSettings

TOPIC = "trades"
PARTITIONS = 4
SYMBOLS = 60
_HEAP_MB = 384
_SHARES = ("--late-share", "0.001", "--duplicate-share", "0.01", "--poison-share", "0.002")
# Much more often than anybody would: files are put together and removed all the time.
_MAINTAINED = (
    "--maintenance-interval-s=1",
    "--orphan-interval-s=2",
    "--orphan-grace-s=10",
    "--compact-within-s=10",
    "--expire-every-commits=10",
    "--keep-snapshots=10",
)
_PATIENT = ("--delivery-timeout-s", "3600", "--flush-timeout-s", "60")


@dataclass(frozen=True, slots=True)
class Commands:
    """How sidecar and server are started; the first argument of a sidecar is its orders' file."""

    sidecar: tuple[str, ...] = (sys.executable, "-m", "highwater.audit.sidecar")
    server: tuple[str, ...] = (sys.executable, "-m", "flight_server")


class Stack:
    """The parts as real processes. Used by one thread, but for `server_number`."""

    def __init__(
        self, settings: AuditSettings, folder: Path, seed: int, clock: Clock, commands: Commands
    ) -> None:
        self._settings = settings
        self._commands = commands
        self._seed = seed
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.uri = f"grpc://{HOST}:{self.port}"
        jars_dir = settings.data_dir / "kafka" / "jars"
        self.broker = EmbeddedBroker(folder, clock, jars_dir=jars_dir, heap_mb=_HEAP_MB)
        self._started: dict[str, Process] = {}
        self._servers = 0
        self._sidecars = 0
        self._feeds = 0
        self._up = False
        self.script = Script(folder / "orders-0")

    @property
    def server_number(self) -> int:
        """Which server process answers; 0 while it is being replaced."""
        return self._servers if self._up else 0

    @property
    def sidecar(self) -> Process:
        """The sidecar of now."""
        return self._started["sidecar"]

    @property
    def server(self) -> Process:
        """The server of now."""
        return self._started["server"]

    def start(self) -> None:
        """Broker and topic, then all the rest."""
        self.broker.start()
        self.broker.create_topic(TOPIC, PARTITIONS)
        self._started["feed"] = self.feed(("--rate", f"{self._settings.rate:g}"), _SHARES)
        self.start_sidecar()
        self.start_server()

    def stop_feed(self) -> None:
        """No more messages come."""
        self._started.pop("feed").stop()

    def start_sidecar(self) -> Process:
        """Another sidecar becomes the one of now; who was it before goes on as it does."""
        self._sidecars += 1
        orders = self.folder / f"orders-{self._sidecars}"
        self.script = Script(orders)
        flags = [f"--flush-interval-s={self._settings.flush_interval_s:g}", "--retry-max-s=1"]
        flags += _MAINTAINED
        argv = [*self._commands.sidecar, str(orders), *self._shared(), *flags]
        if "sidecar" in self._started:
            self._started[f"sidecar-{self._sidecars - 1}"] = self._started["sidecar"]
        self._started["sidecar"] = self._process("sidecar", argv)
        return self.sidecar

    def start_server(self) -> None:
        """The next server, on the same port and data."""
        argv = [*self._commands.server, *self._shared(), f"--port={self.port}"]
        self._started["server"] = self._process("server", argv)
        self._servers += 1
        self._up = True

    def end_server(self, *, kill: bool) -> None:
        """Kill or stop the server."""
        self._up = False
        if kill:
            self.server.kill()
        else:
            self.server.stop()

    def feed(self, limits: Sequence[str], shares: Sequence[str]) -> Process:
        """A feed of its own ids; the caller ends it, unless it ends by itself."""
        self._feeds += 1
        seed = (self._seed + 7919 * self._feeds) % 2**32
        argv = [sys.executable, "-m", "highwater", "feed", "synthetic"]
        argv += ["--kafka", self.broker.bootstrap, "--topic", TOPIC, "--seed", str(seed)]
        argv += ["--symbols", str(SYMBOLS), *_PATIENT, *limits, *shares]
        return self._process(f"feed-{self._feeds}", argv)

    def cpu_s(self) -> dict[tuple[str, int], float]:
        """Processor time that each running process used, by name and process id."""
        running = {(p.name, p.pid): p for p in [*self._started.values()] if p.exit_code() is None}
        used = {key: process.cpu_s() for key, process in running.items()}
        broker = self.broker.pid
        return used if broker is None else {**used, ("broker", broker): cpu_s_of(broker)}

    def stop(self) -> None:
        """End all that still runs, the broker last."""
        self._up = False
        for name in ("feed", *[n for n in self._started if n.startswith("sidecar")], "server"):
            if name in self._started:
                self._started[name].stop()
        self.broker.stop()

    def _shared(self) -> list[str]:
        own = [f"--data-dir={self.data_dir}", f"--kafka={self.broker.bootstrap}"]
        return [*own, "--health-port=0"]  # two sidecars live side by side here

    def _process(self, name: str, argv: Sequence[str]) -> Process:
        return Process(name, argv, self.folder / f"{name}.log")
