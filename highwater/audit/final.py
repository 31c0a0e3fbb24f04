"""After the last fault: everything must catch up, and every offset must be there exactly once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pyiceberg.catalog.sql import SqlCatalog

from highwater.audit.lineage import FOREIGN_PARTITION
from highwater.audit.readers import ERRORS, Connection, rows_of
from highwater.audit.receipt import parse_receipt
from highwater.sql import RECEIPT_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from contract.clock import Clock
    from highwater.audit.judge import Knowledge
    from highwater.audit.ledger import Ledger
    from highwater.audit.receipt import Receipt

_POLL_S = 0.1
_SHOWN = 10

Places = Counter[tuple[int, int]]


def settled(uri: str, ends: dict[int, int], clock: Clock, deadline_s: float) -> str:
    """Wait until lake and cut of an answer are the log's ends; why not, if they are not in time."""
    wanted = {p: (end, end, end) for p, end in ends.items()}
    until_s = clock.monotonic_s() + deadline_s
    last = "no answer"
    while clock.monotonic_s() < until_s:
        try:
            receipt = _receipt(uri)
        except ERRORS as error:
            last = str(error)
        else:
            if receipt.cut == wanted and receipt.lake == wanted:
                return ""
            last = f"cut {receipt.cut}, lake {receipt.lake}"
        clock.sleep(_POLL_S)
    return f"the log ends at {ends}, and after {deadline_s:g} s there is: {last}"


def compare_all(uri: str, data_dir: Path, knowledge: Knowledge, ledger: Ledger) -> None:
    """Every row of the table and every dead letter against the log, by server and by the files."""
    connection = Connection(uri)
    try:
        for table, expected in (
            ("trades", knowledge.log.kept_offsets()),
            ("trades_dead", knowledge.log.dead_offsets()),
        ):
            names = (table,) if table == "trades_dead" else ("trades_history", "trades_tail")
            sql = " union all ".join(f"select _partition, _offset from {name}" for name in names)
            answer = connection.ask(sql)
            found: Places = Counter((int(p or 0), int(o or 0)) for p, o in rows_of(answer))
            receipt = parse_receipt(answer.schema.metadata[RECEIPT_KEY], "trades")
            foreign = len(knowledge.lineage.foreign(receipt.snapshot_id))
            _compare(
                f"{table} by the server", found, expected, foreign * (table == "trades"), ledger
            )
            stored = _stored(data_dir, table)
            _compare(
                f"{table} in its files", stored, expected, foreign * (table == "trades"), ledger
            )
    finally:
        connection.close()


def _compare(
    what: str, found: Places, expected: set[tuple[int, int]], foreign: int, ledger: Ledger
) -> None:
    log = Counter({place: n for place, n in found.items() if place[0] != FOREIGN_PARTITION})
    if missing := sorted(expected - log.keys()):
        ledger.found("gaps", f"{what}: {len(missing)} rows are missing: {missing[:_SHOWN]}")
    if extra := sorted((log - Counter(expected)).elements()):
        ledger.found("duplicates", f"{what}: {len(extra)} rows too many: {extra[:_SHOWN]}")
    if (others := found.total() - log.total()) != foreign:
        words = f"{what}: {others} foreign rows where {foreign} were appended"
        ledger.found("gaps" if others < foreign else "duplicates", words)


def _stored(data_dir: Path, table: str) -> Places:
    root = data_dir.absolute()
    catalog = SqlCatalog(
        "highwater", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}/warehouse"
    )
    try:
        scan = catalog.load_table(f"public.{table}").scan(selected_fields=("_partition", "_offset"))
        rows = scan.to_arrow()
    finally:
        catalog.close()
    pairs = zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)
    return Counter(pairs)


def _receipt(uri: str) -> Receipt:
    connection = Connection(uri)
    try:
        answer = connection.ask("select count(*) from trades")
    finally:
        connection.close()
    return parse_receipt(answer.schema.metadata[RECEIPT_KEY], "trades")
