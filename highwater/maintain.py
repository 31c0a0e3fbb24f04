"""`highwater maintain`: compaction, expiry and collection of unneeded files, beside a sidecar or
without one.

Exit codes: 0 done, 1 something was begun and not done (try again), 2 a table or setting needs a
person.
"""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from contract.definition import load_definition
from contract.errors import HighwaterError, OperatorError, RequestError
from contract.logs import start_logging
from contract.settings import load
from ingest.backoff import Backoff
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import open_catalog
from ingest.maintenance.config import MaintainSettings
from ingest.maintenance.lake import MaintainedTable
from ingest.maintenance.maintainer import Maintainer
from ingest.maintenance.report import TableReport, as_json, as_text
from ingest.maintenance.swap import Lander

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.catalog import Catalog

    from ingest.iceberg_schema import TableShape

DONE, NOT_DONE, OPERATOR = 0, 1, 2
_SQLITE = "sqlite:///"


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Maintain the tables of the settings and print what was done; the exit code."""
    settings = load(MaintainSettings, "maintain", argv, environ)
    if settings.once == settings.dry_run:
        raise RequestError("maintain: say --once to do it, or --dry-run to see what would be done")
    start_logging(settings.log_level, settings.log_format)
    _require_catalog(settings.catalog_uri)
    shapes = [
        shape
        for definition in map(load_definition, settings.tables)
        for shape in (rows_shape(definition), dead_shape(definition))
    ]
    codes, reports = [DONE], []
    with closing(open_catalog(settings)) as catalog:
        for shape in shapes:
            report, code = _maintain(settings, catalog, shape)
            reports.append(report)
            codes.append(code)
    if settings.format == "json":
        print(json.dumps(as_json(reports, dry_run=settings.dry_run)))
    else:
        print(as_text(reports, dry_run=settings.dry_run), end="")
    return max(codes)


def _maintain(
    settings: MaintainSettings, catalog: Catalog, shape: TableShape
) -> tuple[TableReport, int]:
    name = f"{settings.namespace}.{shape.name}"
    try:
        report = maintain_table(a_maintainer(settings, catalog, shape), settings)
    except OperatorError as error:
        return TableReport(name, error=str(error)), OPERATOR
    except HighwaterError as error:
        return TableReport(name, error=str(error)), NOT_DONE
    return report, NOT_DONE if report.compaction.problems else DONE


def a_maintainer(settings: MaintainSettings, catalog: Catalog, shape: TableShape) -> Maintainer:
    """One table's, of nobody's epoch: it changes no row and carries on what it finds."""
    clock = SystemClock()
    table = MaintainedTable(catalog, settings.namespace, shape, lambda: uuid.uuid4().hex)
    backoff = partial(Backoff, Random(), settings.retry_first_s, settings.retry_max_s)
    return Maintainer(
        table, Lander(table, clock, backoff, settings.compact_within_s), clock, settings
    )


def maintain_table(maintainer: Maintainer, settings: MaintainSettings) -> TableReport:
    """Everything that there is to do. Raises UnavailableError, OperatorError."""
    table, dry_run = maintainer.table, settings.dry_run
    table.load()  # says it if there is none
    compacted = maintainer.compact(_always, dry_run=dry_run, round_bytes=None)
    if dry_run:
        expired = table.expirable(table.head(), settings.keep_snapshots)
    else:
        expired = table.expire(settings.keep_snapshots)
    collected = maintainer.collect(_always, dry_run=dry_run)
    return TableReport(table.name, compacted, expired, collected)


def _require_catalog(uri: str) -> None:
    """A SQLite file that is not there would be made."""
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE).partition("?")[0]).is_file():
        raise OperatorError(
            "there is no catalog file in the data directory: name it with --data-dir or "
            "--catalog-uri, or start `highwater ingest` first"
        )


def _always() -> bool:
    return True
