"""One process of the product, with a log file, signalled and waited for by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STOP_S = 20.0
_LAST_BYTES = 2_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process:
    """Runs from construction on; its output is appended to `log`."""

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal is for us, who stop in order
            )
        self.pid = self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it."""
        self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def stopped(self) -> bool:
        """Whether it was halted by SIGSTOP."""
        return _stat(self.pid)[:1] == ["T"]

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def last_words(self) -> str:
        """The end of what this process wrote, in one line."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            text = log.read()[-_LAST_BYTES:].decode(errors="replace")
        return " | ".join(text.splitlines()[-3:])

    def cpu_s(self) -> float:
        """Processor time that it used; 0 if it is gone."""
        return cpu_s_of(self.pid)


def cpu_s_of(pid: int) -> float:
    """Processor time that a process used; 0 if it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
