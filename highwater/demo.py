"""`highwater demo`: the whole path on this machine, with live answers in the terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from contract.clock import Clock, SystemClock
from contract.errors import (
    CancelledError,
    HighwaterError,
    UnauthenticatedError,
    UnavailableError,
)
from contract.settings import common, load, setting
from highwater.access import AccessSettings, driver_options
from highwater.answers import Answers, ask_all, clients, line, page
from highwater.children import ChildDiedError, Children
from highwater.sql import asked, connect
from ingest.feeds.command import stop_on_signals
from ingest.kafka.ports import HOST, require_free
from ingest.kafka.topics import topic_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from threading import Event

TABLE = "trades"
PARTITIONS = 4
_POLL_S = 0.25
_PROBE_TIMEOUT_S = 5.0
_QUERY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class DemoSettings(AccessSettings):
    """Run broker, feed, sidecar and server on this machine, and show live answers."""

    data_dir: Path = common("data_dir")
    port: int = setting(
        31337,
        doc="TCP port of the server; the next two are the health ports of server and sidecar",
        minimum=1,
        maximum=65_533,
    )
    kafka_port: int = setting(9092, doc="TCP port of the broker", minimum=1, maximum=65_535)
    rate: float = setting(
        500.0, doc="Rate of the feed", unit="messages/s", minimum=1, maximum=100_000
    )
    seconds: float = setting(
        0.0, doc="Stop after so long with answers, 0 for at Ctrl-C", unit="s", minimum=0
    )
    refresh_s: float = setting(1.0, doc="Time between answers", unit="s", minimum=0.1, maximum=60)
    start_timeout_s: float = setting(
        180.0, doc="How long each part may take to start", unit="s", minimum=1, maximum=3_600
    )
    stop_timeout_s: float = setting(
        20.0, doc="How long each part may take to stop", unit="s", minimum=1, maximum=600
    )

    @property
    def health_ports(self) -> tuple[int, int]:
        """Of server and sidecar: the defaults where `port` is its default."""
        return self.port + 1, self.port + 2


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run the demo until Ctrl-C, SIGTERM or the end of its time.

    Raises OperatorError for a busy port, ChildDiedError for a part that ended by itself,
    UnavailableError for a part that did not start in time.
    """
    settings = load(DemoSettings, "demo", argv, environ)
    require_free(settings.kafka_port, "--kafka-port")
    for port in (settings.port, *settings.health_ports):
        require_free(port, "--port")
    stopping = stop_on_signals()
    clock = SystemClock()
    with Children(settings.data_dir / "logs", clock, settings.stop_timeout_s) as children:
        try:
            demo = _Demo(settings, children, stopping, clock)
            demo.start()
            demo.show()
        except CancelledError:
            pass  # Ctrl-C while it started: that is no failure
        except ChildDiedError as error:
            print(error.last_lines, file=sys.stderr)
            raise
        _say("stopping sidecar, feed, server and broker")
    _say("stopped")
    return 0


class _Demo:
    def __init__(
        self, settings: DemoSettings, children: Children, stopping: Event, clock: Clock
    ) -> None:
        self._settings = settings
        self._children = children
        self._stopping = stopping
        self._clock = clock
        self._kafka = f"{HOST}:{settings.kafka_port}"
        # Whether the server wants TLS and users is up to its own settings, not to the demo.
        self._access = driver_options(settings)
        scheme = "grpc+tls" if settings.tls_ca is not None else "grpc"
        self._uri = f"{scheme}://{HOST}:{settings.port}"

    def start(self) -> None:
        """Start each part and wait for it."""
        settings, begun_s = self._settings, self._clock.monotonic_s()
        shared = ["--data-dir", str(settings.data_dir), "--kafka", self._kafka]
        topic = f"{TABLE}:{PARTITIONS}"
        broker = ["--data-dir", str(settings.data_dir), "--port", str(settings.kafka_port)]
        broker += ["--start-timeout-s", str(settings.start_timeout_s), "--create-topic", topic]
        self._children.start("broker", ["broker", *broker])
        # The server waits for topic and table by itself, so it may load while the broker does.
        serve_health, ingest_health = (str(port) for port in settings.health_ports)
        ports = ["--port", str(settings.port), "--health-port", serve_health]
        self._children.start("serve", ["serve", *shared, *ports])
        self._await("broker", "Apache Kafka with topic trades", self._topic_answers)
        # The sample as it is belongs into a table once; later starts go on with new passes of it.
        ends = topic_ends(self._kafka, TABLE, PARTITIONS, self._clock)
        originals = "--no-originals" if any(ends) else "--originals"
        feed = ["--kafka", self._kafka, "--topic", TABLE, "--rate", f"{settings.rate:g}"]
        self._children.start("feed", ["feed", "replay", *feed, "--loop", originals])
        self._children.start("ingest", ["ingest", *shared, "--health-port", ingest_health])
        self._await("serve", "the Flight SQL server", lambda: self._sql_answers("select 1"))
        question = f"select count(*) from {TABLE}"  # noqa: S608 - a constant
        self._await("ingest", "the table", lambda: self._sql_answers(question))
        _say(f"first answer after {self._clock.monotonic_s() - begun_s:.1f} s")

    def show(self) -> None:
        """Ask and show until the time is over or somebody stops it."""
        console = Console()
        print(clients(self._uri, TABLE), flush=True)
        if console.is_terminal:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                self._rounds(
                    lambda answers: live.update(Text(page(answers), no_wrap=True), refresh=True)
                )
        else:
            self._rounds(lambda answers: print(line(answers), flush=True))

    def _rounds(self, shown: Callable[[Answers], None]) -> None:
        settings, begun_s = self._settings, self._clock.monotonic_s()
        with connect(self._uri, _QUERY_TIMEOUT_S, self._access) as connection:
            while not self._stopping.is_set():
                self._children.check()
                shown(self._asked(connection))
                left_s = begun_s + settings.seconds - self._clock.monotonic_s()
                if settings.seconds and left_s <= 0:
                    return
                wait_s = min(settings.refresh_s, left_s) if settings.seconds else settings.refresh_s
                self._stopping.wait(wait_s)

    def _asked(self, connection: Any) -> Answers:
        try:
            return ask_all(connection, TABLE)
        except HighwaterError:
            self._stopping.wait(_POLL_S)  # a server that is dying has its own, better last words
            self._children.check()
            raise

    def _await(self, name: str, what: str, ready: Callable[[], bool]) -> None:
        begun_s = self._clock.monotonic_s()
        _say(f"waiting for {what} ({self._children.log(name)})")
        while not ready():
            self._children.check()
            if self._stopping.wait(_POLL_S):
                raise CancelledError("stopped while starting")
            if self._clock.monotonic_s() - begun_s > self._settings.start_timeout_s:
                raise UnavailableError(
                    f"{what} did not answer within {self._settings.start_timeout_s:g} s;"
                    f" see {self._children.log(name)}"
                )
        _say(f"{what}: ready after {self._clock.monotonic_s() - begun_s:.1f} s")

    def _topic_answers(self) -> bool:
        return b"ready on" in self._children.log("broker").read_bytes()

    def _sql_answers(self, statement: str) -> bool:
        try:
            with (
                connect(self._uri, _PROBE_TIMEOUT_S, self._access) as connection,
                asked(connection, statement) as reader,
            ):
                reader.read_all()
        except UnauthenticatedError:
            raise  # waiting makes no login right
        except HighwaterError:
            return False
        return True


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)
