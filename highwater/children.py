"""The processes of the demo: each with a log of its own, started and stopped in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Self

from contract.errors import HighwaterError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from contract.clock import Clock

_LAST_LINES = 8
_POLL_S = 0.05


class ChildDiedError(HighwaterError):
    """A process that the demo needs ended by itself; `last_lines` are those of its log."""

    def __init__(self, text: str, last_lines: str) -> None:
        super().__init__(text)
        self.last_lines = last_lines


class Children:
    """Sub-commands of `highwater` as child processes.

    On leaving the context all are stopped, the last one started first: SIGTERM, then SIGKILL for
    what is left of its process group after `stop_timeout_s`.
    """

    def __init__(
        self,
        log_dir: Path,
        clock: Clock,
        stop_timeout_s: float,
        command: Sequence[str] = (sys.executable, "-m", "highwater"),
    ) -> None:
        self._log_dir = log_dir
        self._command = command
        self._clock = clock
        self._stop_timeout_s = stop_timeout_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: list[str]) -> None:
        """Start `<command> <argv>`; its output goes to `<log_dir>/<name>.log`, from the top."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [*self._command, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal is for us, who stop in order
            )

    def log(self, name: str) -> Path:
        """Where a child writes."""
        return self._log_dir / f"{name}.log"

    def check(self) -> None:
        """Raise ChildDiedError if one of them is gone."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise ChildDiedError(
                    f"{name} ended by itself, with code {code}; its log is {self.log(name)}",
                    self._tail(name),
                )

    def stop(self) -> None:
        """Stop all that still run."""
        for name in reversed(list(self._running)):
            process = self._running.pop(name)
            process.terminate()
            until_s = self._clock.monotonic_s() + self._stop_timeout_s
            while process.poll() is None and self._clock.monotonic_s() < until_s:
                self._clock.sleep(_POLL_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all."""
        self.stop()

    def _tail(self, name: str) -> str:
        text = self.log(name).read_text(encoding="utf-8", errors="replace")
        return "\n".join(f"  {line}" for line in deque(text.splitlines(), maxlen=_LAST_LINES))
