"""Answers that were given during the run, asked for again at its end by their receipts.

Kills, roll-backs, compactions and commits lie between; the rows must be the same ones. Only a
roll-back that took foreign rows away, which no log can bring back, excuses a refusal.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flight_server.cut.request import EXACTLY, with_hint
from highwater.audit.readers import ERRORS, rows_of
from highwater.audit.receipt import parse_receipt
from highwater.audit.verdict import compare
from highwater.sql import RECEIPT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    import pyarrow as pa

    from highwater.audit.judge import Asked, Knowledge
    from highwater.audit.ledger import Ledger

_OTHERS_GONE = "rows of other writers, and not the same ones"
_SHOWN_CHARS = 600


@dataclass(frozen=True, slots=True)
class Given:
    """An answer with the receipt as the client got it."""

    asked: Asked
    receipt: str


class Recorder:
    """A fair sample of all answers, at most `kept_max`; written by readers."""

    def __init__(self, kept_max: int, rng: Random) -> None:
        self._kept_max = kept_max
        self._rng = rng
        self._lock = threading.Lock()
        self._offered = 0
        self._kept: list[Given] = []

    def offer(self, asked: Asked, receipt: bytes) -> None:
        """An answer came; each has the same chance to be kept."""
        with self._lock:
            self._offered += 1
            at = self._rng.randrange(self._offered)
            if len(self._kept) < self._kept_max:
                self._kept.append(Given(asked, receipt.decode()))
            elif at < self._kept_max:
                self._kept[at] = Given(asked, receipt.decode())

    def given(self) -> list[Given]:
        """Those that were kept."""
        with self._lock:
            return list(self._kept)


def ask_all_again(
    given: list[Given],
    ask: Callable[[str], pa.Table],
    knowledge: Knowledge,
    ledger: Ledger,
    head: int | None,
) -> None:
    """Ask each again and compare; `ask` as `Connection.ask`, `head`: the table's snapshot now."""
    for one in given:
        sql = with_hint(one.asked.question.sql, {EXACTLY: one.receipt})
        try:
            table = ask(sql)
        except ERRORS as error:
            _refused(one, str(error), knowledge, ledger, head)
            continue
        verdict = compare(one.asked.found, rows_of(table), one.asked.question.counts)
        receipt = parse_receipt(table.schema.metadata[RECEIPT_KEY], "trades")
        words = ""
        if (receipt.cut, receipt.lake) != (one.asked.receipt.cut, one.asked.receipt.lake):
            ledger.found("errors", f"asked again, the receipt names {receipt} for {one.receipt}")
        else:
            words = f"asked again: {one.asked.question.sql}; receipt {one.receipt}"
        ledger.asked_again(verdict, words)


def _refused(one: Given, text: str, knowledge: Knowledge, ledger: Ledger, head: int | None) -> None:
    with knowledge.lock:
        before = set(knowledge.lineage.foreign(one.asked.receipt.snapshot_id))
        lost = not before <= set(knowledge.lineage.foreign(head))
    if lost and _OTHERS_GONE in text:
        ledger.refused_again()
    else:
        words = " ".join(text.split())[:_SHOWN_CHARS]
        ledger.found("errors", f"asked again: {one.asked.question.sql}: {words}; {one.receipt}")
