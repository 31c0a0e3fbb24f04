"""The real processes of one table: sidecar and server, started, killed and asked by a test."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as flight_sql
from confluent_kafka import Producer

from contract.errors import HighwaterError
from highwater.status import document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEADLINE_S = 60.0
# One answer that shows itself to be right: nothing twice, and history and tail make the whole.
PROOF = """
SELECT count(*) AS n, count(DISTINCT message_id) AS ids,
       (SELECT count(*) FROM trades_history) AS lake,
       (SELECT count(*) FROM trades_tail) AS tail,
       (SELECT sum(cut_offset) FROM system.cut WHERE lane = 'LOW') AS cut
FROM trades
"""
_FETCH_S = 0.2  # the broker has answered a fetch by then: a consumer has it wait for 5 ms


def wait_until(
    check: Callable[[], object], what: Callable[[], str], deadline_s: float = DEADLINE_S
) -> Any:
    """The first true answer of `check`; fails with `what()` when the deadline passes."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if answer := check():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"after {deadline_s:.0f} s: {what()}")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Stack:
    """One topic and its table `trades`, below a folder of its own; or the tables of other files."""

    folder: Path
    bootstrap: str
    topic: str
    port: int = field(default_factory=free_port)
    tables: tuple[Path, ...] = ()
    health_ports: dict[str, int] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _connection: Any = None

    def __post_init__(self) -> None:
        """Write the definition: the shipped one on the test's topic."""
        shipped = (resources.files("contract") / "tables" / "trades.toml").read_text()
        text = shipped.replace('topic = "trades"', f'topic = "{self.topic}"')
        (self.folder / "trades.toml").write_text(text)
        self.tables = self.tables or (self.folder / "trades.toml",)
        self._producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "enable.idempotence": True}
        )

    def produce(self, values: Sequence[bytes | None], partition: int = 0) -> None:
        """These messages, acknowledged when it returns."""
        for value in values:
            self._producer.produce(self.topic, value=value, key=b"k", partition=partition)
            self._producer.poll(0)
        assert self._producer.flush(30) == 0

    def start(self, name: str, *flags: str, wait: bool = True) -> None:
        """Start `ingest` or `serve`; another `name` after a colon starts a second one."""
        module = {"ingest": "ingest", "serve": "flight_server"}[name.partition(":")[0]]
        own = ["--port", str(self.port)] if module == "flight_server" else []
        own += ["--health-port=0"]
        log = (self.folder / f"{name.replace(':', '-')}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    f"--data-dir={self.folder / 'data'}",
                    f"--kafka={self.bootstrap}",
                    f"--tables={','.join(map(str, self.tables))}",
                    *own,
                    *flags,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait and module == "flight_server":
            wait_until(lambda: self._answers(name), lambda: f"no answer: {self.log(name)}")

    def watched(self, name: str) -> str:
        """The flag that opens the health endpoint of `name` on a port of its own."""
        self.health_ports[name] = free_port()
        return f"--health-port={self.health_ports[name]}"

    def status(self, name: str) -> dict[str, Any]:
        """What `/readyz` of a watched process answers; its `codes` are those of the reasons."""
        port = self.health_ports[name]
        found = dict(document(f"http://127.0.0.1:{port}/readyz", name, timeout_s=10))
        return found | {"codes": {reason["code"] for reason in found["reasons"]}}

    def try_status(self, name: str) -> dict[str, Any]:
        """The same; nothing but no codes while nobody answers."""
        try:
            return self.status(name)
        except HighwaterError:
            return {"ready": False, "codes": set(), "tables": {}}

    def pid(self, name: str) -> int:
        """The id of a process."""
        return self._processes[name].pid

    def _answers(self, name: str) -> bool:
        assert self._processes[name].poll() is None, f"{name} ended: {self.log(name)}"
        return self.try_ask("SELECT 1") is not None

    def log(self, name: str) -> str:
        """The end of what that process wrote."""
        return (self.folder / f"{name.replace(':', '-')}.log").read_text()[-3_000:]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process that this object started."""
        self._processes[name].send_signal(number)

    def halt(self, name: str) -> None:
        """SIGSTOP; when it returns all threads stand still and no fetch of theirs is under way."""
        self.signal(name, signal.SIGSTOP)
        stat = Path(f"/proc/{self._processes[name].pid}/stat")
        wait_until(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T",
            lambda: f"{name} does not halt",
        )
        time.sleep(_FETCH_S)

    def exit_code(self, name: str, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end of a process."""
        return self._processes[name].wait(deadline_s)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait."""
        self.signal(name, signal.SIGKILL)
        self.exit_code(name)
        if name == "serve":
            self.disconnect()

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows of an answer, over ADBC."""
        return self.answer(sql)[0]

    def answer(self, sql: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rows and receipt."""
        if self._connection is None:
            self._connection = flight_sql.connect(f"grpc://127.0.0.1:{self.port}", autocommit=True)
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            table = cursor.fetch_arrow_table()
        return table.to_pylist(), json.loads(table.schema.metadata[b"highwater.receipt"])

    def try_ask(self, sql: str) -> list[dict[str, Any]] | None:
        """The rows, or None while the server cannot answer."""
        try:
            return self.ask(sql)
        except flight_sql.Error:
            self.disconnect()
            return None

    def disconnect(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wait_for_rows(self, rows: int, table: str = "trades") -> None:
        """Until that table has so many rows."""
        sql = f"SELECT count(*) AS n FROM {table}"
        wait_until(
            lambda: self.try_ask(sql) == [{"n": rows}],
            lambda: f"{table} has not {rows} rows but {self.try_ask(sql)}; {self.logs()}",
        )

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {name}\n{self.log(name)}" for name in self._processes)

    def stop(self) -> None:
        """End whatever still runs."""
        self.disconnect()
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(30)
