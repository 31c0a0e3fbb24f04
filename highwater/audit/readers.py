"""Readers: threads that ask over ADBC, each on a connection of its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager as adbc
import pyarrow as pa

from highwater.audit.judge import Asked
from highwater.audit.log_model import UNIT
from highwater.audit.questions import any_question
from highwater.audit.receipt import is_without, parse_receipt
from highwater.audit.verdict import Rows, Value, in_order
from highwater.sql import RECEIPT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.clock import Clock
    from highwater.audit.judge import Judge, Knowledge
    from highwater.audit.ledger import Ledger
    from highwater.audit.questions import Question

ERRORS = (adbc.Error, pa.ArrowException, OSError)
_RPC_TIMEOUT_S = 60
_PAUSE_S = 0.1  # after a statement without an answer
_TOPICS_EVERY = 64  # questions
_UNAVAILABLE = ("(unavailable;", "connection refused", "[unavailable]", "code = unavailable")


@dataclass(frozen=True, slots=True)
class Around:
    """What a reader works with. `server` numbers the process that answers now, 0 for none.

    `record` takes each answer with the text of its receipt.
    """

    uri: str
    knowledge: Knowledge
    judge: Judge
    ledger: Ledger
    clock: Clock
    server: Callable[[], int]
    record: Callable[[Asked, bytes], None]


class Connection:
    """One ADBC connection; statements are run without the preparation that a cursor adds."""

    def __init__(self, uri: str) -> None:
        options = {
            f"adbc.flight.sql.rpc.timeout_seconds.{call}": str(_RPC_TIMEOUT_S)
            for call in ("fetch", "query", "update")
        }
        self._connection = flight_sql.connect(uri, db_kwargs=options, autocommit=True)

    def ask(self, sql: str) -> pa.Table:
        """The answer; its schema's metadata hold the receipt. Raises one of `ERRORS`."""
        with adbc.AdbcStatement(self._connection.adbc_connection) as statement:
            statement.set_sql_query(sql)
            stream, _ = statement.execute_query()
            with pa.RecordBatchReader.from_stream(stream) as reader:
                return reader.read_all()

    def close(self) -> None:
        """Let it go."""
        self._connection.close()


class Readers:
    """So many readers, in threads; their questions follow from the seeds."""

    def __init__(self, count: int, rng: Random, around: Around) -> None:
        self._around = around
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._read, args=(Random(rng.getrandbits(64)),), name=f"reader-{n}",
                daemon=True,
            )
            for n in range(count)
        ]  # fmt: skip

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End after the statements under way; False: one hangs."""
        self._stopping.set()
        until_s = self._around.clock.monotonic_s() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - self._around.clock.monotonic_s()))
        return not any(thread.is_alive() for thread in self._threads)

    def _read(self, rng: Random) -> None:
        around = self._around
        connection: Connection | None = None
        asked = 0
        topics = around.knowledge.topics()
        while not self._stopping.is_set():
            if asked % _TOPICS_EVERY == 0:
                topics = around.knowledge.topics()
            asked += 1
            question = any_question(rng, topics)
            server = around.server()
            try:
                connection = connection or Connection(around.uri)
                self._one(connection, question, server)
            except Exception as error:  # noqa: BLE001 - judged, and the reader goes on
                self._failed(error, question, server)
                _close(connection)
                connection = None
                self._stopping.wait(_PAUSE_S)
        _close(connection)

    def _one(self, connection: Connection, question: Question, server: int) -> None:
        around = self._around
        floor = around.ledger.floor(server)
        table = connection.ask(question.sql)
        text = table.schema.metadata[RECEIPT_KEY]
        if not table.num_rows and is_without(text, "trades"):
            around.ledger.unavailable()  # in the way of `system.*`, which shows what has a view
            return
        receipt = parse_receipt(text, "trades")
        if server == around.server():  # else it is unclear which process answered
            around.ledger.answered(server, floor, receipt.cut, question.sql)
        asked = Asked(question, rows_of(table), receipt)
        around.judge.submit(asked)
        around.record(asked, text)

    def _failed(self, error: Exception, question: Question, server: int) -> None:
        """An answer of UNAVAILABLE is allowed, and anything while the server is being replaced."""
        around = self._around
        text = " ".join(str(error).split())
        if is_unavailable(error) or server != around.server() or not server:
            around.ledger.unavailable()
        else:
            around.ledger.found("errors", f"{question.sql}: {type(error).__name__}: {text[:600]}")


def is_unavailable(error: Exception) -> bool:
    """Whether the server said: not now, or could not be reached."""
    if not isinstance(error, ERRORS):
        return False
    text = str(error).lower()
    return any(sign in text for sign in _UNAVAILABLE)


def rows_of(table: pa.Table) -> Rows:
    """The rows as plain values, decimals as integers of 1e-8, in order."""
    columns = [[_plain(value) for value in column.to_pylist()] for column in table.columns]
    return in_order(list(zip(*columns, strict=True)))


def _plain(value: Any) -> Value:
    if isinstance(value, Decimal):
        return int(value * UNIT)
    if value is None or isinstance(value, (int, str)):
        return value
    return str(value)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        try:
            connection.close()
        except ERRORS:
            return
