"""`highwater audit`: the run from its start to its verdict.

The last line of the output is one JSON object. Exit code 0 only if answers were compared, none
of them was wrong, no cut went back, no statement failed, and each fault showed its effect.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from contract.clock import Clock, SystemClock
from contract.definition import load_definition
from contract.errors import HighwaterError
from contract.settings import load
from highwater.audit.again import Recorder, ask_all_again
from highwater.audit.catalog_reader import CatalogReader
from highwater.audit.config import AuditSettings
from highwater.audit.final import compare_all, settled
from highwater.audit.injector import Injector
from highwater.audit.judge import Judge, Knowledge
from highwater.audit.ledger import Ledger
from highwater.audit.lineage import Lineage
from highwater.audit.log_model import LogModel
from highwater.audit.log_reader import LogReader
from highwater.audit.readers import Around, Connection, Readers
from highwater.audit.schedule import chosen
from highwater.audit.stack import PARTITIONS, TOPIC, Commands, Stack
from ingest.feeds.command import stop_on_signals
from ingest.kafka.topics import topic_ends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

_START_S = 120.0
_SETTLE_S = 60.0
_SETTLE_FOUND_S = 5.0  # when something was found already, it may never come to rest
_AFTERMATH_S = 5.0
_POLL_S = 0.2
_READERS_END_S = 70.0
_BETWEEN_LINES_S = (1.0, 10.0)  # on a terminal, elsewhere


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """One audit. Raises RequestError for settings, OperatorError for what the machine lacks."""
    settings = load(AuditSettings, "audit", argv, environ)
    return audited(settings, Commands(), stop_on_signals())


def audited(settings: AuditSettings, commands: Commands, stopping: Event) -> int:
    """One audit of the parts that these commands start, until its end or a stop; the exit code."""
    kinds = chosen(settings.faults)
    clock = SystemClock()
    seed = int(clock.wall_s()) if settings.seed is None else settings.seed
    root = settings.data_dir.absolute() / "audit"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{seed}-", dir=root))
    _say(f"seed {seed}, faults: {', '.join(kinds) or 'none'}; logs in {folder}")
    audit = _Audit(_World.of(settings, folder, seed, clock, commands), kinds, stopping)
    clean = audit.run()
    if missed := [kind for kind in kinds if kind not in audit.result()["faults"]]:
        _say(f"no time was left for {', '.join(missed)}")
    if clean and not settings.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _say(f"kept: {folder}; the same again with --seed {seed}")
    print(json.dumps(audit.result()), flush=True)
    return 0 if clean else 1


@dataclass(frozen=True, slots=True)
class _World:
    settings: AuditSettings
    clock: Clock
    stack: Stack
    knowledge: Knowledge
    ledger: Ledger
    judge: Judge
    log: LogReader
    catalog: CatalogReader
    rng: Random
    recorder: Recorder

    @staticmethod
    def of(
        settings: AuditSettings, folder: Path, seed: int, clock: Clock, commands: Commands
    ) -> _World:
        definition = load_definition("trades")
        model = LogModel(definition.duplicate_window_us, definition.duplicate_rows)
        knowledge = Knowledge(model, Lineage())
        ledger = Ledger(clock, _say)
        stack = Stack(settings, folder, seed, clock, commands)
        return _World(
            settings=settings,
            clock=clock,
            stack=stack,
            knowledge=knowledge,
            ledger=ledger,
            judge=Judge(knowledge, ledger),
            log=LogReader(stack.broker.bootstrap, TOPIC, PARTITIONS, knowledge, ledger),
            catalog=CatalogReader(stack.data_dir / "catalog.db", knowledge),
            rng=Random(seed),
            recorder=Recorder(settings.reask, Random(seed + 1)),
        )


class _Audit:
    def __init__(self, world: _World, kinds: list[str], stopping: Event) -> None:
        self._world = world
        self._kinds = kinds
        self._stopping = stopping
        self._cpu_s: dict[tuple[str, int], float] = {}  # by name and process id
        self._lasted_s = 0.0
        self._torn = False  # somebody stopped it while a fault was under way

    def run(self) -> bool:
        """Start, ask, stop, compare; whether all was as it must be."""
        world = self._world
        try:
            try:
                world.stack.start()
                world.log.start()
                world.catalog.start()
                world.judge.start()
                self._ask()
                self._finish()
            finally:
                world.log.stop()
                world.stack.stop()
        except HighwaterError as error:
            world.ledger.found("errors", str(error))
        if not world.ledger.answers:
            _say("no answer was compared")
        return world.ledger.clean and bool(world.ledger.answers)

    def result(self) -> dict[str, Any]:
        """The last line."""
        log = self._world.knowledge.log
        result = self._world.ledger.result()
        return {
            **result,
            "answers_per_s": round(result["answers"] / max(self._lasted_s, 1e-9), 1),
            "seconds": round(self._lasted_s, 1),
            "rows": log.rows,
            "dropped_duplicates": log.duplicates,
            "dead_letters": log.dead_letters,
            "late": log.late,
            "cores": self._cores(),
        }

    def _ask(self) -> None:
        world, clock = self._world, self._world.clock
        around = Around(
            world.stack.uri, world.knowledge, world.judge, world.ledger, clock,
            lambda: world.stack.server_number, world.recorder.offer,
        )  # fmt: skip
        readers = Readers(world.settings.readers, Random(world.rng.getrandbits(64)), around)
        injector = Injector(
            world.stack, world.knowledge, world.ledger, world.catalog, clock, world.rng, _say
        )
        if not injector.await_table(_START_S):
            return
        readers.start()
        begun_s = clock.monotonic_s()
        injector.start(self._kinds, world.settings)
        self._watch(begun_s, injector)
        self._torn = self._stopping.is_set() and injector.busy
        if not world.ledger.clean:
            self._stopping.wait(_AFTERMATH_S)  # what answers say of it
        injector.stop()
        self._lasted_s = clock.monotonic_s() - begun_s
        if not readers.stop(_READERS_END_S):
            world.ledger.found("errors", "a statement did not end")
        world.ledger.close()

    def _watch(self, begun_s: float, injector: Injector) -> None:
        clock, settings = self._world.clock, self._world.settings
        between_s = _BETWEEN_LINES_S[0 if sys.stdout.isatty() else 1]
        next_s = begun_s + between_s
        while not self._stopping.is_set() and not injector.ended:
            now_s = clock.monotonic_s()
            self._note_cpu()
            if not injector.busy and now_s - begun_s >= settings.seconds:
                return
            if now_s >= next_s:
                next_s = now_s + between_s
                _say(self._line(now_s - begun_s))
            self._stopping.wait(_POLL_S)

    def _finish(self) -> None:
        """Let everything come to rest, and compare all of it."""
        world = self._world
        if self._torn:
            _say("stopped within a fault: what the end would show is not looked at")
            world.judge.finish(complete=False)
            return
        world.stack.stop_feed()
        bootstrap = world.stack.broker.bootstrap
        ends = dict(enumerate(topic_ends(bootstrap, TOPIC, PARTITIONS, world.clock)))
        everything = {p: (end, end, end) for p, end in ends.items()}
        until_s = world.clock.monotonic_s() + _SETTLE_S
        while not world.knowledge.log.reaches(everything):
            if world.clock.monotonic_s() > until_s:
                world.ledger.found("errors", f"the log was not read up to its ends {ends}")
                break
            world.clock.sleep(_POLL_S)
        patience_s = _SETTLE_S if world.ledger.clean else _SETTLE_FOUND_S
        why = settled(world.stack.uri, ends, world.clock, patience_s)
        world.log.stop()
        world.catalog.refresh()
        world.catalog.stop()
        world.judge.finish()
        if why:
            world.ledger.found("errors", why)
            return
        compare_all(world.stack.uri, world.stack.data_dir, world.knowledge, world.ledger)
        self._ask_again()

    def _ask_again(self) -> None:
        world = self._world
        connection = Connection(world.stack.uri)
        given, head = world.recorder.given(), world.catalog.head.snapshot_id
        try:
            ask_all_again(given, connection.ask, world.knowledge, world.ledger, head)
        finally:
            connection.close()

    def _note_cpu(self) -> None:
        times = os.times()
        self._cpu_s |= self._world.stack.cpu_s()
        self._cpu_s["auditor", os.getpid()] = times.user + times.system

    def _cores(self) -> dict[str, float]:
        """Cores that each part used, over all its processes."""
        used: Counter[str] = Counter()
        for (name, _), cpu_s in self._cpu_s.items():
            used[name.partition("-")[0]] += cpu_s  # type: ignore[assignment]
        return {name: round(s / max(self._lasted_s, 1e-9), 2) for name, s in used.items()}

    def _line(self, passed_s: float) -> str:
        found = self._world.ledger.result()
        faults = sum(found["faults"].values())
        names = ("gaps", "duplicates", "wrong", "regressions", "errors", "unproven", "unavailable")
        counts = ", ".join(f"{found[name]:,} {name}" for name in names)
        return (
            f"{passed_s:5.0f} s: {found['answers']:,} answers compared,"
            f" {self._world.knowledge.log.rows:,} rows, {faults} faults; {counts}"
        )


def _say(text: str) -> None:
    print(f"audit: {text}", flush=True)
