"""Looks after the table while nothing is committed to it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contract.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from ingest.executor import Worker

_LOG = logging.getLogger(__name__)


class TableWatch:
    """Has the table checked every `period_s` in which no flush is under way.

    Each commit checks what it stands on. But a topic may be silent for hours: a table that was
    rolled back meanwhile would stay behind, and a sidecar whose table was taken over would stay.
    """

    def __init__(self, check: Callable[[], None], worker: Worker, period_s: float) -> None:
        """`check` raises where this process can't go on; it runs on `worker`, as commits do."""
        self._check = check
        self._worker = worker
        self._period_s = period_s
        self._checking: Future[None] | None = None
        self._due_s: float | None = None

    def step(self, now_s: float, *, busy: bool) -> None:
        """Begin a check if it is due; what the last one raised is raised here."""
        if self._checking is not None and self._checking.done():
            checking, self._checking = self._checking, None
            try:
                checking.result()
            except UnavailableError as error:
                _LOG.warning("the table could not be checked: %s", error)
        if busy or self._due_s is None:
            self._due_s = now_s + self._period_s
        elif now_s >= self._due_s and self._checking is None:
            self._due_s = now_s + self._period_s
            self._checking = self._worker.submit(self._check)
