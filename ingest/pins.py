"""Pinned levels: one small file for each table, which `highwater breaker` writes.

A file, because it must reach a sidecar that is too busy for anything else, and outlive its restart.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from contract.errors import OperatorError
from contract.levels import Level
from ingest.breaker import Pin

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)
_FOLDER = "breaker"
_BYTES_MAX = 64 * 1024


def pin_path(data_dir: Path, table: str) -> Path:
    """Where the pin of that table lies."""
    return data_dir / _FOLDER / f"{table}.json"


class PinFile:
    """Reads the pin of one table. What is no pin is told once, and counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = ""

    def __call__(self) -> Pin | None:
        """The pin as it is now, be its time over; None: there is none."""
        try:
            with self._path.open(encoding="utf-8") as file:
                return _pin(json.loads(file.read(_BYTES_MAX)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            if problem != self._told:
                self._told = problem
                _LOG.warning("the pinned level cannot be read, so none is: %s", problem)
            return None

    def write(self, pin: Pin) -> None:
        """Set it; a reader sees the old one or this one."""
        draft = self._path.with_suffix(".draft")
        stored = {"level": pin.level.name, "reason": pin.reason, "until_s": pin.until_s}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(stored), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            raise OperatorError(f"the pin cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Take it away, if there is one."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise OperatorError(f"the pin cannot be removed: {error.strerror}") from error


def _pin(stored: dict[str, Any]) -> Pin:
    until_s = float(stored["until_s"])
    if not math.isfinite(until_s):
        raise ValueError("a pin needs an end")
    return Pin(Level[stored["level"]], str(stored["reason"]), until_s)
