"""The sidecar as the audit starts it: the product's own, with a failpoint that takes orders.

    python -m highwater.audit.sidecar ORDERS_FILE <flags of highwater ingest>

Nothing but the failpoint differs from `highwater ingest`, and the catalog's client loses a
response when that is ordered.
"""

from __future__ import annotations

import os
import signal
import sys
import uuid
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog.sql import SqlCatalog

from contract.clock import SystemClock
from contract.logs import start_logging
from contract.settings import load
from highwater.audit.script import RESPONSE, Script
from ingest.app import Environment, Sidecar
from ingest.config import IngestSettings
from ingest.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLE = "trades"


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run until told to stop; the exit codes are those of `highwater ingest`."""
    script = Script(Path(argv[0]))
    settings = load(IngestSettings, "ingest", argv[1:], environ)
    _lose_responses(script)
    clock = SystemClock()
    stop = Stop(clock, settings.shutdown_timeout_s)
    environment = Environment(clock, Random(), lambda: uuid.uuid4().hex, stop, script)
    start_logging(settings.log_level, settings.log_format)
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.request())
    return Sidecar(settings, environment).run()


def _lose_responses(script: Script) -> None:
    """Let a commit land in the catalog and its answer be lost, when that is ordered."""
    landed = SqlCatalog.commit_table

    def commit_table(catalog: SqlCatalog, table: Any, *rest: Any) -> Any:
        response = landed(catalog, table, *rest)
        if table.name()[-1] == _TABLE:
            script(RESPONSE)
        return response

    SqlCatalog.commit_table = commit_table  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
