"""`highwater serve`, also `python -m flight_server`: the Flight SQL server as a process.

SIGTERM and SIGINT: running statements end at their next batch, the open tail is sealed for the
next start. A second signal ends the process at once. Exit codes: 0 stopped as asked, 1 a thread
did not end in time, 2 a setting or the installation needs a person.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from typing import TYPE_CHECKING

from contract import descriptors
from contract.clock import SystemClock
from contract.errors import HighwaterError
from contract.logs import start_logging
from contract.settings import load
from flight_server.app import Server
from flight_server.config import ServeSettings
from flight_server.memory import settle_allocators, settle_collector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_log = logging.getLogger("highwater.serve")

_HANDLE_BYTES = 16

# The follower gives the interpreter up at each of its many calls into Arrow, and statements do
# too. With Python's default of 5 ms each of these returns may wait as long for the other side.
_SWITCH_INTERVAL_S = 0.0002

# Threads of the engine, for each core. A statement that it cannot interrupt keeps some of them
# (docs/limits.md); the others are left to its neighbours. The engine reads this when first used.
_ENGINE_THREADS = "TOKIO_WORKER_THREADS"
_ENGINE_THREADS_PER_CORE = 3


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Serve until a signal says stop; the exit code."""
    settle_allocators()
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault(_ENGINE_THREADS, str(_ENGINE_THREADS_PER_CORE * cores))
    try:
        settings = load(ServeSettings, "serve", argv, environ)
        start_logging(settings.log_level, settings.log_format)
        server = Server(
            settings,
            SystemClock(),
            lambda: secrets.token_bytes(_HANDLE_BYTES),
            cores,
        )
    except HighwaterError as error:
        sys.stderr.write(f"highwater serve: {error}\n")
        return 2
    descriptors.raise_limit()
    stop = threading.Event()
    _stop_on_signals(stop)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    settle_collector()
    server.start()
    _log.info("ready on %s", server.uri)
    stop.wait()
    _log.info("stopping")
    ended = _stopped_within(server, settings.drain_s)
    logging.shutdown()
    if not ended:
        os._exit(1)  # a plan that the engine cannot interrupt would keep the process for ever
    return 0


def _stopped_within(server: Server, drain_s: float) -> bool:
    results: list[bool] = []
    stopping = threading.Thread(target=lambda: results.append(server.stop()), daemon=True)
    stopping.start()
    stopping.join(drain_s)
    return results == [True]


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
