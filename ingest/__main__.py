"""`highwater ingest`, also `python -m ingest`: the sidecar as a process.

SIGTERM and SIGINT: what was read is committed, within `--shutdown-timeout-s`. Exit codes:

0  stopped as asked, all that was read is committed
1  unexpected, or no time was left for the last commit (nothing is lost: it is read again)
2  a setting, the topic or the table needs a person; the last line says what to do
3  another sidecar has taken over the table
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from random import Random
from typing import TYPE_CHECKING

from contract import descriptors
from contract.clock import SystemClock
from contract.errors import HighwaterError
from contract.logs import start_logging
from contract.settings import load
from ingest.app import OPERATOR, Environment, Sidecar
from ingest.config import IngestSettings
from ingest.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType


# Polling, decoding and committing hand the interpreter to each other at every call into a library.
_SWITCH_INTERVAL_S = 0.0005


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run the sidecar until it is told to stop; the exit code."""
    try:
        settings = load(IngestSettings, "ingest", argv, environ)
        clock = SystemClock()
        stop = Stop(clock, settings.shutdown_timeout_s)
        environment = Environment(clock, Random(), lambda: uuid.uuid4().hex, stop)
        sidecar = Sidecar(settings, environment)
        descriptors.raise_limit()
    except HighwaterError as error:
        sys.stderr.write(f"highwater ingest: {error}\n")
        return OPERATOR
    start_logging(settings.log_level, settings.log_format)
    _stop_on_signals(stop)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    return sidecar.run()


def _stop_on_signals(stop: Stop) -> None:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.request()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
