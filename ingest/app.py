"""The sidecar put together: one pipeline per table, each on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from contract import descriptors
from contract.definition import load_definition
from contract.errors import HighwaterError, OperatorError, RequestError, UnavailableError
from contract.health import STORAGE, Code, Conditions, set_storage, storage_code
from contract.health_server import HealthServer, health_routes
from contract.levels import Level
from ingest.backoff import Backoff
from ingest.commit import FencedError, TableWriter, WriterParts
from ingest.executor import DaemonWorker
from ingest.iceberg_schema import dead_shape, rows_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from ingest.kafka_log import open_log
from ingest.maintenance.assembly import a_scheduler
from ingest.metrics import Metrics
from ingest.pins import PinFile, pin_path
from ingest.pipeline import Parts, Pipeline
from ingest.ports import Failpoint, IdFactory, no_failpoint
from ingest.rss import rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from random import Random

    from pyiceberg.catalog import Catalog

    from contract.clock import Clock
    from contract.health import Figure, Health
    from contract.table import TableDefinition
    from ingest.config import IngestSettings
    from ingest.executor import Worker
    from ingest.iceberg_schema import TableShape
    from ingest.stop import Stop

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_SQLITE = "sqlite:///"
_JOIN_S = 0.2
_CLOSE_S = 0.5

OK = 0
UNEXPECTED = 1
OPERATOR = 2
FENCED = 3

# With one of these a table is not being copied. A full buffer alone is how backpressure looks.
BLOCKING = STORAGE | {Code.STARTING, Code.STOPPING, Code.FAILED, Code.BROKER_AWAY}


@dataclass(frozen=True, slots=True)
class Environment:
    """What a process brings along; only tests pass failpoints."""

    clock: Clock
    random: Random
    ids: IdFactory
    stop: Stop
    failpoint: Failpoint = field(default=no_failpoint)


class Sidecar:
    """Copies the topics of the tables until it is asked to stop, or one of them fails."""

    def __init__(self, settings: IngestSettings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment
        self._definitions = [load_definition(name) for name in settings.tables]
        _check_distinct(self._definitions)
        self._conditions = Conditions("ingest", BLOCKING, environment.clock)
        for definition in self._definitions:
            self._health(definition).set(Code.STARTING, "catalog and broker are being asked")
        self._metrics = Metrics()
        routes = {**health_routes(self._conditions.document), "/metrics": self._metrics.reply}
        self._server = HealthServer(settings.health_port, routes, environment.clock)

    def run(self) -> int:
        """Run all tables; the exit code. A table that fails stops the others, in order."""
        with self._server:
            return self._run_tables()

    def _run_tables(self) -> int:
        results: dict[str, Future[None]] = {}
        threads = []
        for definition in self._definitions:
            result = results[definition.name] = Future[None]()
            job = partial(_settle, result, partial(self._run_table, definition))
            thread = threading.Thread(target=job, name=f"ingest-{definition.name}", daemon=True)
            threads.append(thread)
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_JOIN_S)  # short, so that signals are handled in between
                self._observe(results)
        return max((_exit_code(name, result) for name, result in results.items()), default=OK)

    def _observe(self, results: Mapping[str, Future[None]]) -> None:
        """Note what no component of a table can say of itself."""
        process = self._conditions.of("")
        descriptors.check(process)
        if self._environment.stop.requested():
            process.set(Code.STOPPING, "it was asked to stop, and commits what was read")
        for name, result in results.items():
            if result.done() and (error := result.exception()) is not None:
                self._conditions.of(name).set(Code.FAILED, str(error) or type(error).__name__)

    def _health(self, definition: TableDefinition) -> Health:
        return self._conditions.of(definition.name)

    def _run_table(self, definition: TableDefinition) -> None:
        try:
            with self._pipeline(definition) as pipeline:
                pipeline.run()
        finally:
            self._environment.stop.request()

    @contextmanager
    def _pipeline(self, definition: TableDefinition) -> Iterator[Pipeline]:
        settings, env = self._settings, self._environment
        health = self._health(definition)
        catalog = self._catalog(health)
        roles = ("committer", "watcher", "decoder")
        workers = [DaemonWorker(f"{definition.name}-{role}") for role in roles]
        try:
            shapes = rows_shape(definition), dead_shape(definition)
            tables = [IcebergTable(catalog, settings.namespace, s, env.ids) for s in shapes]
            for table in tables:
                self._patiently(table.ensure, health)
            writers = [
                TableWriter(table, role, self._writer_parts(health))
                for table, role in zip(tables, ("rows", "dead"), strict=True)
            ]
            group = f"highwater-{settings.namespace}-{definition.name}"
            log, look = open_log(settings.kafka, definition.topic, group)
            again = partial(open_log, settings.kafka, definition.topic, f"{group}-backfill")
            pairs = list(zip(shapes, writers, strict=True))
            levels = deque([Level.NORMAL], maxlen=1)  # no maintenance before a claim
            with self._maintained(pairs, workers[0], health, levels) as figures:
                yield Pipeline(
                    Parts(
                        definition=definition,
                        log=log,
                        look=look,
                        log_again=lambda: again()[0],
                        rows=writers[0],
                        dead=writers[1],
                        committer=workers[0],
                        watcher=workers[1],
                        decoder=workers[2],
                        clock=env.clock,
                        backoff=self._backoff,
                        stop=env.stop,
                        health=health,
                        figures=figures,
                        pins=PinFile(pin_path(settings.data_dir, definition.name)),
                        on_level=levels.append,
                        rss_bytes=rss_bytes,
                        metrics=self._metrics,
                    ),
                    settings,
                )
        finally:
            for worker in workers:
                worker.close(_CLOSE_S)
            catalog.close()

    @contextmanager
    def _maintained(
        self,
        writers: Sequence[tuple[TableShape, TableWriter]],
        committer: Worker,
        health: Health,
        levels: deque[Level],
    ) -> Iterator[Callable[[], Mapping[str, Figure]]]:
        """Have the tables maintained meanwhile, while the level is NORMAL; what that shows."""
        settings, env = self._settings, self._environment
        if not settings.maintenance_interval_s:
            yield dict
            return
        catalog = self._catalog(health)
        scheduler = a_scheduler(
            settings,
            catalog,
            writers,
            committer,
            env.clock,
            env.ids,
            self._backoff,
            env.failpoint,
            may_run=lambda: not env.stop.requested() and levels[-1] is Level.NORMAL,
        )
        scheduler.start()
        try:
            yield scheduler.figures
        finally:
            scheduler.close(_CLOSE_S)
            catalog.close()

    def _catalog(self, health: Health) -> Catalog:
        def opened() -> Catalog:
            uri = self._settings.catalog_uri
            if uri.startswith(_SQLITE):
                _make(Path(uri.removeprefix(_SQLITE)).parent)
            return open_catalog(self._settings)

        return self._patiently(opened, health)

    def _patiently(self, call: Callable[[], T], health: Health) -> T:
        """Call until the catalog answers; UnavailableError when asked to stop before."""
        backoff = self._backoff()
        while True:
            try:
                made = call()
                health.clear(*STORAGE)
                return made
            except UnavailableError as error:
                if self._environment.stop.requested():
                    raise
                delay_s = backoff.next_s()
                set_storage(health, storage_code(error), str(error))
                _LOG.warning("cannot start yet: %s; next attempt in %.2f s", error, delay_s)
            self._environment.stop.wait(delay_s)

    def _backoff(self) -> Backoff:
        settings = self._settings
        return Backoff(self._environment.random, settings.retry_first_s, settings.retry_max_s)

    def _writer_parts(self, health: Health) -> WriterParts:
        env = self._environment
        return WriterParts(env.ids, env.stop, self._backoff(), env.failpoint, health)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"the catalog's directory cannot be made: {error.strerror}"
        ) from error


def _settle(result: Future[None], job: Callable[[], None]) -> None:
    """Run the job; how it ended is in the result."""
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - turned into an exit code
        result.set_exception(error)
    else:
        result.set_result(None)


def _exit_code(table: str, result: Future[None]) -> int:
    error = result.exception()
    if error is None:
        return OK
    if isinstance(error, OperatorError):
        _LOG.error("table %s: %s", table, error)
        return FENCED if isinstance(error, FencedError) else OPERATOR
    if isinstance(error, HighwaterError):
        _LOG.error("table %s: %s", table, error)
        return UNEXPECTED
    _LOG.error("table %s: unexpected end", table, exc_info=error)
    return UNEXPECTED


def _check_distinct(definitions: Sequence[TableDefinition]) -> None:
    names = [n for d in definitions for n in (d.name, d.dead_name)]
    if not names:
        raise RequestError("--tables names no table")
    if doubled := {n for n in names if names.count(n) > 1}:
        raise RequestError(f"--tables: table {min(doubled)!r} is made by two definitions")
