"""A real Apache Kafka on this machine: one JVM, KRaft combined mode, loopback only.

`EmbeddedBroker` is a component: `highwater broker`, the demo, the benchmarks and the tests all
start the same one. Its topics live in `<data_dir>/kafka/log` and outlive it.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Self

from contract.errors import CancelledError, OperatorError, UnavailableError
from ingest.kafka.install import ensure_jars, find_java
from ingest.kafka.ports import HOST, free_port, require_free
from ingest.kafka.properties import LOGGING, broker_properties
from ingest.kafka.topics import answers, create_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from contract.clock import Clock

# Any 16 bytes do; this broker never meets another one.
_CLUSTER_ID = "aGlnaHdhdGVyLWJyb2tlcg"
_POLL_S = 0.05
_FORMAT_TIMEOUT_S = 60.0
_LOG_LINES = 5
_STARTED = "Kafka Server started"
_ERROR = re.compile(r"\b(ERROR|FATAL|Caused by|\w+Exception)\b")
_JVM_FLAGS = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true")


def _silent(_line: str) -> None:
    """Progress that nobody reads."""


class EmbeddedBroker:
    """One broker process; `start` and `stop` may alternate, its address stays the same.

    `port` 0 takes a free one. `properties` are broker properties that win over the ones here.
    `jars_dir` may be shared between data directories. `progress` gets one line per slow step.
    """

    def __init__(
        self,
        data_dir: Path,
        clock: Clock,
        port: int = 0,
        *,
        port_flag: str = "--port",
        jars_dir: Path | None = None,
        java: str = "",
        heap_mb: int = 512,
        properties: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = _silent,
    ) -> None:
        self.port = port or free_port()
        self.bootstrap = f"{HOST}:{self.port}"
        self._port_flag = port_flag
        self._home = (data_dir / "kafka").absolute()
        self._jars = jars_dir or self._home / "jars"
        self._java = java
        self._heap_mb = heap_mb
        self._properties = dict(properties or {})
        self._clock = clock
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60.0, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start it and wait until it answers.

        Raises OperatorError for a busy port, no Java, no jars, or a broker that died (with its last
        words); UnavailableError if it does not answer within `timeout_s`; CancelledError if
        `stopping` became true.
        """
        require_free(self.port, self._port_flag)
        java = find_java(self._java)
        jars = ensure_jars(self._jars, self._progress)
        command = [java, f"-Xmx{self._heap_mb}m", *_JVM_FLAGS, "-cp", f"{jars}/*"]
        self._write_config()
        command.insert(1, f"-Dlog4j2.configurationFile={self._home}/log4j2.properties")
        if not (self._home / "log" / "meta.properties").exists():
            self._format(command)
        if self._log.exists():
            self._log.replace(self._home / "kafka-before.txt")
        with (self._home / "console.txt").open("wb") as console:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*command, "kafka.Kafka", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal is for us, who stop it in order
            )
        try:
            self._await_answer(timeout_s, stopping)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it in order; after `timeout_s` it is killed. Does nothing if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut would, as far as the process is concerned."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Id of the process; None if there is none."""
        return None if self._process is None else self._process.pid

    def last_words(self) -> str:
        """What it said of its end, in one line: its errors, or else its last lines."""
        console = self._home / "console.txt"
        text = console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""
        lines = _without_trace(text + self._logged())
        errors = [line for line in lines if _ERROR.search(line)]
        return " | ".join((errors or lines)[-_LOG_LINES:])

    def create_topic(
        self, name: str, partitions: int = 4, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until it is usable; False if it exists."""
        return create_topic(self.bootstrap, name, partitions, self._clock, config)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def _log(self) -> Path:
        return self._home / "kafka.txt"

    @property
    def _config(self) -> Path:
        return self._home / "server.properties"

    def _write_config(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        properties = broker_properties(self.port, free_port(), self._home / "log")
        lines = [f"{key}={value}\n" for key, value in (properties | self._properties).items()]
        self._config.write_text("".join(lines), encoding="utf-8")
        logging = LOGGING.format(log=self._log)
        (self._home / "log4j2.properties").write_text(logging, encoding="utf-8")

    def _format(self, command: list[str]) -> None:
        self._progress("formatting the broker's storage")
        tool = [*command, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        done = subprocess.run(  # noqa: S603 - our own command line
            [*tool, "-t", _CLUSTER_ID, "-c", str(self._config)],
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            said = _without_trace(done.stderr or done.stdout)
            raise OperatorError(f"the broker's storage could not be formatted: {' | '.join(said)}")

    def _logged(self) -> str:
        """What it logged since its start."""
        if not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _await_answer(self, timeout_s: float, stopping: Callable[[], bool]) -> None:
        until_s = self._clock.monotonic_s() + timeout_s
        while self._clock.monotonic_s() < until_s:
            if stopping():
                raise CancelledError("stopped while the broker started")
            if not self.running():
                raise OperatorError(f"the broker ended while it started: {self.last_words()}")
            # Not by trying to connect: on loopback a client that tries a port of the ephemeral
            # range often enough connects to itself, and then holds the port.
            if _STARTED in self._logged() and answers(self.bootstrap):
                return
            self._clock.sleep(_POLL_S)
        raise UnavailableError(f"the broker did not answer within {timeout_s:g} s")


def _without_trace(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("\tat ")]
