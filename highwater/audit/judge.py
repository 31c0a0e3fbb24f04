"""Compares each answer with its prediction, once the auditor's own consumer has read so far."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from highwater.audit.questions import Covered, Topics
from highwater.audit.verdict import Verdict, compare

if TYPE_CHECKING:
    from highwater.audit.ledger import Ledger
    from highwater.audit.lineage import Lineage
    from highwater.audit.log_model import LogModel
    from highwater.audit.questions import Question
    from highwater.audit.receipt import Receipt
    from highwater.audit.verdict import Rows

_WAITING_MAX = 20_000  # answers; readers wait beyond
_LOOK_S = 0.02
_SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer and its receipt."""

    question: Question
    found: Rows
    receipt: Receipt


class Knowledge:
    """What the auditor knows by itself: the log and the ancestry; under one lock."""

    def __init__(self, log: LogModel, lineage: Lineage) -> None:
        self.log = log
        self.lineage = lineage
        self.lock = threading.Lock()

    def topics(self) -> Topics:
        """What can be asked for."""
        with self.lock:
            return Topics(self.log.symbols, list(self.log.recent), list(self.log.sample[-4096:]))

    def reaches(self, receipt: Receipt) -> bool:
        """Whether the answer of this receipt can be predicted now."""
        with self.lock:
            return self.log.reaches(receipt.cut) and self.lineage.knows(receipt.snapshot_id)

    def expected(self, asked: Asked) -> Rows:
        """The prediction."""
        receipt = asked.receipt
        with self.lock:
            foreign = self.lineage.foreign(receipt.snapshot_id)
            covered = Covered(receipt.cut, receipt.lake, foreign)
            return asked.question.expect(self.log, covered)


class Judge:
    """One thread; nothing that was answered is left out."""

    def __init__(self, knowledge: Knowledge, ledger: Ledger) -> None:
        self._knowledge = knowledge
        self._ledger = ledger
        self._incoming: queue.Queue[Asked] = queue.Queue(_WAITING_MAX)
        self._waiting: deque[Asked] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, asked: Asked) -> None:
        """Have an answer compared; waits while too many wait."""
        self._incoming.put(asked)

    def finish(self, *, complete: bool = True) -> None:
        """Compare the rest. If log and ancestry are complete, what lies beyond them is wrong."""
        self._stopping.set()
        self._thread.join()
        while not self._incoming.empty():
            self._waiting.append(self._incoming.get())
        self._sweep()
        for asked in self._waiting if complete else ():
            words = f"the receipt names what neither log nor catalog has: {asked.receipt}"
            self._ledger.judged(
                asked.question.kind, Verdict.WRONG, asked.receipt.snapshot_id, words
            )
        self._waiting.clear()

    def judge(self, asked: Asked) -> None:
        """Compare one answer, which can be predicted."""
        expected = self._knowledge.expected(asked)
        question, receipt = asked.question, asked.receipt
        verdict = compare(expected, asked.found, question.counts)
        words = ""
        if verdict is not Verdict.EXACT:
            words = (
                f"{question.sql}: expected {_short(expected, asked.found)}, found "
                f"{_short(asked.found, expected)}; snapshot {receipt.snapshot_id}, cut "
                f"{receipt.cut}, lake {receipt.lake}"
            )
        self._ledger.judged(question.kind, verdict, receipt.snapshot_id, words)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._waiting.append(self._incoming.get(timeout=_LOOK_S))
                while True:
                    self._waiting.append(self._incoming.get_nowait())
            except queue.Empty:
                pass
            self._sweep()

    def _sweep(self) -> None:
        for _ in range(len(self._waiting)):
            asked = self._waiting.popleft()
            if not self._knowledge.reaches(asked.receipt):
                self._waiting.append(asked)
                continue
            try:
                self.judge(asked)
            except Exception as error:  # noqa: BLE001 - an answer that cannot be compared is found
                words = f"{asked.question.sql}: {type(error).__name__}: {error}"
                self._ledger.found("errors", f"the answer cannot be compared: {words}")


def _short(rows: Rows, other: Rows) -> str:
    """The rows that the other side has not, in few words."""
    text = str([row for row in rows if row not in other])
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
