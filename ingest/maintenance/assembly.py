"""The maintenance of one sidecar's tables, put together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ingest.maintenance.lake import MaintainedTable
from ingest.maintenance.maintainer import Maintainer
from ingest.maintenance.scheduler import Schedule, Scheduler, in_turn
from ingest.maintenance.swap import Lander

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiceberg.catalog import Catalog

    from contract.clock import Clock
    from ingest.backoff import Backoff
    from ingest.commit import TableWriter
    from ingest.config import IngestSettings
    from ingest.executor import Worker
    from ingest.iceberg_schema import TableShape
    from ingest.ports import Failpoint, IdFactory


def a_scheduler(
    settings: IngestSettings,
    catalog: Catalog,
    writers: Sequence[tuple[TableShape, TableWriter]],
    committer: Worker,
    clock: Clock,
    ids: IdFactory,
    backoff: Callable[[], Backoff],
    failpoint: Failpoint,
    may_run: Callable[[], bool],
) -> Scheduler:
    """`catalog`: for the maintenance alone. `writers`: the tables, first the rows'; none is
    compacted before its writer has claimed it, nor after another one has.
    """
    maintainers: list[Maintainer] = []
    schedule = Schedule(
        settings.maintenance_interval_s, settings.orphan_interval_s, settings.compact_round_bytes
    )

    def may_run_now() -> bool:
        return may_run() and all(writer.epoch is not None for _, writer in writers)

    scheduler = Scheduler(maintainers, schedule, clock, may_run_now)
    for shape, writer in writers:
        table = MaintainedTable(catalog, settings.namespace, shape, ids)
        lander = Lander(
            table,
            clock,
            backoff,
            settings.compact_within_s,
            turn=in_turn(committer, scheduler.may_go_on),
            epoch=partial(_epoch_of, writer),
            may_go_on=scheduler.may_go_on,
            failpoint=failpoint,
        )
        maintainers.append(Maintainer(table, lander, clock, settings))
    return scheduler


def _epoch_of(writer: TableWriter) -> int | None:
    return writer.epoch
