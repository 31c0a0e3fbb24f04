"""`highwater verify`: reads topic, tables and markers by itself and says whether all of it fits.

Exit codes: 0 everything holds, 1 something does not, 2 it could not be checked.
"""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from contract.definition import load_definition
from contract.errors import OperatorError, RequestError, UnavailableError
from contract.logs import start_logging
from contract.settings import load
from highwater.verify.audit import Audit, TableReport
from highwater.verify.config import VerifySettings
from highwater.verify.iceberg import PinnedTable, opened_catalog
from highwater.verify.report import FAILED, OK, UNCHECKED, Outcome, as_json, as_text, overall
from highwater.verify.topic import TopicReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.catalog import Catalog

    from contract.table import TableDefinition

_EXIT_CODES = {OK: 0, FAILED: 1, UNCHECKED: 2}
_WIDTH = 78


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Check the tables of the settings and print the report; the exit code."""
    settings = load(VerifySettings, "verify", argv, environ)
    start_logging(settings.log_level, settings.log_format)
    if not settings.tables:
        raise RequestError("--tables names no table")
    definitions = [load_definition(name) for name in settings.tables]
    outcomes = [check(settings, definition) for definition in definitions]
    _write(as_json(outcomes) if settings.format == "json" else as_text(outcomes), settings.output)
    return _EXIT_CODES[overall(outcomes)]


def check(settings: VerifySettings, definition: TableDefinition) -> Outcome:
    """Check one table with its dead letters; why not, if that cannot be done."""
    table = f"{settings.namespace}.{definition.name}"
    try:
        return Outcome(table, _audit(settings, definition))
    except (OperatorError, UnavailableError) as error:
        return Outcome(table, reason=str(error))
    finally:
        _progress("")


def _audit(settings: VerifySettings, definition: TableDefinition) -> TableReport:
    reader = TopicReader(settings.kafka, definition.topic, settings.timeout_s, SystemClock())
    with closing(reader), opened_catalog(settings) as catalog:
        pin = partial(_pin, catalog, settings.namespace)
        return Audit(definition, pin, reader, settings.strip_rows, _progress).run()


def _pin(catalog: Catalog, namespace: str, name: str) -> PinnedTable:
    return PinnedTable(catalog, f"{namespace}.{name}")


def _progress(text: str) -> None:
    """One line that is written over and over, where somebody watches; "" wipes it out."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text[:_WIDTH]:<{_WIDTH}}\r")
        sys.stderr.flush()


def _write(text: str, output: str) -> None:
    if not output:
        print(text, end="")
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"--output {output}: {error.strerror}") from error
