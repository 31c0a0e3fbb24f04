"""One live table at work: the threads that keep its view, built and stopped together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from contract.decode import Decoder
from contract.errors import UnavailableError
from contract.health import Code
from flight_server.kafka_log import open_ends, open_log
from flight_server.lake.table import LakeTable
from flight_server.refresher import Refresher
from flight_server.tail.files import TailFiles
from flight_server.tail.follower import Follower
from flight_server.tail.keeper import Keeper, LogHealth
from flight_server.tail.pace import FollowerLimits
from flight_server.tail.runner import TailRunner
from flight_server.view import FreshnessLimits, State, ViewPublisher

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from contract.clock import Clock
    from contract.health import Health
    from contract.table import TableDefinition
    from flight_server.config import ServeSettings
    from flight_server.lake.snapshot import LakeSnapshot
    from flight_server.query.live import LiveTable
    from flight_server.query.types import LakeView

_STOP_S = 5.0


class RunningTable:
    """Refresher, follower and keeper of one table; `view` is what statements pin."""

    def __init__(
        self,
        definition: TableDefinition,
        frames: LiveTable,
        catalog: Catalog,
        settings: ServeSettings,
        clock: Clock,
        boot_id: str,
        conditions: Health,
    ) -> None:
        """Open everything; nothing runs yet. OperatorError if another server has the tail."""
        limits = FreshnessLimits(
            lag_messages=settings.lagging_messages,
            lag_s=settings.lagging_s,
            stalled_after_s=settings.stalled_s,
        )
        self._publisher: ViewPublisher[LakeSnapshot] = ViewPublisher(
            clock, definition.rules_digest, limits
        )
        self._conditions = conditions
        files = self._files = TailFiles(
            settings.data_dir / "tail", definition, boot_id, settings.tail_disk_bytes
        )
        client_id = f"highwater-serve-{definition.name}"
        self._logs = [
            open_log(settings.kafka, definition.topic, client_id),
            open_ends(settings.kafka, definition.topic, f"{client_id}-keeper"),
        ]
        health = LogHealth()
        follower = Follower(
            definition,
            self._logs[0],
            Decoder(definition),
            self._publisher,
            files,
            frames.seed_rows,
            clock,
            health,
            FollowerLimits(
                poll_messages=settings.poll_messages,
                poll_s=settings.poll_wait_s,
                stalled_after_s=settings.stalled_s,
            ),
        )
        keeper = Keeper(self._logs[1], self._publisher, files, clock, health, conditions=conditions)
        self._tail = TailRunner(definition.name, follower, keeper, self._publisher, files)
        self._refresher = Refresher(
            LakeTable(catalog, f"{settings.namespace}.{definition.name}"),
            LakeTable(catalog, f"{settings.namespace}.{definition.dead_name}"),
            self._publisher.on_lake,
            settings.refresh_interval_s,
            conditions,
        )
        self._refreshing = threading.Thread(
            target=self._refresher.run, name=f"refresher-{definition.name}", daemon=True
        )

    def start(self) -> None:
        """Start all threads."""
        self._refreshing.start()
        self._tail.start()

    def view(self) -> LakeView:
        """The current view. Raises UnavailableError with the reason if there is none."""
        if absent := self._refresher.absent:
            raise UnavailableError(absent)
        return self._publisher.current()

    def observe(self) -> None:
        """Say how the view is now; for a timer, and for whoever asks."""
        try:
            view = self.view()
        except UnavailableError as error:
            self._conditions.clear(Code.STALLED)
            self._conditions.set(Code.NO_VIEW, str(error))
            self._conditions.show({"state": "no view", "tail_bytes": self._files.byte_count})
            return
        self._conditions.clear(Code.NO_VIEW)
        if view.state is State.STALLED:
            self._conditions.set(Code.STALLED, view.reason)
        else:
            self._conditions.clear(Code.STALLED)
        self._conditions.show(
            {
                "state": view.state.value,
                "snapshot_id": None
                if view.lake.snapshot_id is None
                else str(view.lake.snapshot_id),
                "lag_messages": view.lag_messages,
                "lag_s": round(view.lag_s, 3),
                "tail_rows": sum(batch.num_rows for batch in view.tail),
                "tail_bytes": self._files.byte_count,
                "tail_chunks": sum(len(held.chunks) for held in view.held),
            }
        )

    def stop(self) -> bool:
        """Stop all threads and keep the tail for the next start; False: one of them hangs."""
        self._refresher.stop()
        ended = self._tail.stop(_STOP_S)
        self._refreshing.join(_STOP_S)
        if ended:
            for log in self._logs:
                log.close()
        return ended and not self._refreshing.is_alive()
