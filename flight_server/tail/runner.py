"""Two threads for one table's tail: the follower reads, the keeper writes files and asks."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from flight_server.tail.files import TailFiles
    from flight_server.tail.follower import Follower
    from flight_server.tail.keeper import Keeper
    from flight_server.view import ViewPublisher

_LOG = logging.getLogger(__name__)
_KEEPER_PERIOD_S = 0.05
_AFTER_FAILURE_S = 1.0


class TailRunner:
    """Runs follower and keeper of one table until `stop`. The log sources stay the caller's."""

    def __init__(
        self,
        table: str,
        follower: Follower,
        keeper: Keeper,
        publisher: ViewPublisher[Any],
        files: TailFiles,
    ) -> None:
        self._follower = follower
        self._keeper = keeper
        self._publisher = publisher
        self._files = files
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, name=f"follower-{table}", daemon=True),
            threading.Thread(target=self._keep, name=f"keeper-{table}", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End both, seal what is open for the next start, and let the directory go.

        Waits `timeout_s` for each thread; False: one of them hangs, and nothing was sealed.
        """
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_s)
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            while self._keeper.seal(everything=True):
                pass
            self._files.close()
        return ended

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._guarded(self._follower.step, self._follower_failed)

    def _keep(self) -> None:
        while not self._stopping.wait(_KEEPER_PERIOD_S):
            while self._guarded(self._keeper.step, lambda: None) and not self._stopping.is_set():
                pass

    def _follower_failed(self) -> None:
        self._publisher.on_broken("the tail failed and begins anew: try again in a moment")
        self._follower.restart()

    def _guarded(self, step: Callable[[], int], failed: Callable[[], None]) -> int:
        """One step; whatever it raises is logged and is not the end of the thread."""
        try:
            return step()
        except Exception:  # noqa: BLE001 - logged, and answered with another start
            _LOG.exception("the tail failed")
            failed()
            self._stopping.wait(_AFTER_FAILURE_S)
            return 0
