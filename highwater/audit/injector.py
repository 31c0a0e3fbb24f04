"""Runs the faults one after the other, each proven before the next one comes."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING

from highwater.audit.faults import FAULTS
from highwater.audit.field import Field, StoppedError, UnprovenError
from highwater.audit.foreign import ForeignTool
from highwater.audit.readers import ERRORS, Connection
from highwater.audit.schedule import rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from contract.clock import Clock
    from highwater.audit.catalog_reader import CatalogReader
    from highwater.audit.config import AuditSettings
    from highwater.audit.judge import Knowledge
    from highwater.audit.ledger import Ledger
    from highwater.audit.stack import Stack

_POLL_S = 0.1
_FILES_MAX = 8  # more, and a compaction comes out of turn: every lake that is used has them
_COMPACTION = "foreign-compaction"
_TRACE = "faults.jsonl"


class Injector:
    """One thread; `busy` while a fault is under way, `ended` when none comes any more."""

    def __init__(
        self,
        stack: Stack,
        knowledge: Knowledge,
        ledger: Ledger,
        catalog: CatalogReader,
        clock: Clock,
        rng: Random,
        say: Callable[[str], None],
    ) -> None:
        self._stopping = threading.Event()
        tool = ForeignTool(stack.data_dir, knowledge, clock)
        self._field = Field(stack, knowledge, ledger, catalog, tool, clock, rng, self._stopping)
        self._say = say
        self.busy = False
        self.ended = False
        self._thread: threading.Thread | None = None

    def await_table(self, deadline_s: float) -> bool:
        """Wait for the first answer over a committed table; False: it does not come."""
        field = self._field
        try:
            field.wait(lambda: field.progress() > 0, "the sidecar did not commit", deadline_s)
            field.wait(self._answers, "the server did not answer", deadline_s)
        except UnprovenError as error:
            words = f"{field.stack.sidecar.last_words()} / {field.stack.server.last_words()}"
            field.ledger.found("errors", f"at the start, {error}: {words}")
            return False
        return True

    def start(self, kinds: Sequence[str], settings: AuditSettings) -> None:
        """Begin; no fault begins after the time or the rounds of the settings."""
        until_s = self._field.clock.monotonic_s() + settings.seconds
        order = rounds(kinds, self._field.rng, settings.rounds)
        self._thread = threading.Thread(
            target=self._run,
            args=(self._tidied(order, kinds), settings.spacing_s, until_s),
            name="injector",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is left as it is."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _answers(self) -> bool:
        try:
            connection = Connection(self._field.stack.uri)
            try:
                connection.ask("select count(*) from trades")
            finally:
                connection.close()
        except ERRORS:
            return False
        return True

    def _run(self, order: Iterator[str], spacing_s: float, until_s: float) -> None:
        field, kind = self._field, ""
        try:
            for kind in order:
                self._quiet(field.some(0, spacing_s))
                if self.ended or field.clock.monotonic_s() >= until_s:
                    return
                self._inject(kind)
            self.ended = bool(kind)
            while not self.ended:
                self._quiet(1.0)
        except StoppedError:
            return
        except UnprovenError as error:
            field.ledger.found("errors", str(error))
            self.ended = True
        except Exception as error:  # noqa: BLE001 - an injector that dies must not look like peace
            field.ledger.found("errors", f"the injector failed: {type(error).__name__}: {error}")
            self.ended = True
        finally:
            self.busy = False

    def _tidied(self, order: Iterator[str], kinds: Sequence[str]) -> Iterator[str]:
        """These faults, and compactions between them that keep the number of files down."""
        for kind in order:
            if _COMPACTION in kinds and self._field.tool.files() > _FILES_MAX:
                yield _COMPACTION
            yield kind

    def _inject(self, kind: str) -> None:
        field, begun_s = self._field, self._field.clock.monotonic_s()
        self.busy = True
        try:
            FAULTS[kind](field)
        except UnprovenError as error:
            field.ledger.found("unproven", f"{kind}: {error}")
            for process in (field.stack.sidecar, field.stack.server):
                if process.exit_code() is None:
                    process.signal(signal.SIGUSR1)  # its log then says what each thread is doing
            self.ended = True
            return
        finally:
            self.busy = False
        took_s = field.clock.monotonic_s() - begun_s
        field.ledger.fault(kind)
        self._trace(kind, took_s)
        self._say(f"fault {kind}: over after {took_s:.1f} s")

    def _quiet(self, duration_s: float) -> None:
        """Let it run; whatever ends by itself now is an error."""
        field = self._field
        until_s = field.clock.monotonic_s() + duration_s
        while True:
            for process in (field.stack.sidecar, field.stack.server):
                if process.exit_code() is not None:
                    raise UnprovenError(
                        f"the {process.name} ended by itself with {process.exit_code()}:"
                        f" {process.last_words()}"
                    )
            left_s = until_s - field.clock.monotonic_s()
            if left_s <= 0:
                return
            field.sleep(min(left_s, _POLL_S))

    def _trace(self, kind: str, took_s: float) -> None:
        line = {"at_s": self._field.clock.wall_s(), "fault": kind, "took_s": round(took_s, 3)}
        with (self._field.stack.folder / _TRACE).open("a") as trace:
            trace.write(json.dumps(line) + "\n")
