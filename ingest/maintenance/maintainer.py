"""One table's maintenance, round by round: compaction, then what nothing needs is removed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.errors import CancelledError, UnavailableError
from ingest.maintenance.collect import Collected, Collector, Times
from ingest.maintenance.tiers import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.clock import Clock
    from ingest.maintenance.config import MaintenanceSettings
    from ingest.maintenance.lake import MaintainedTable
    from ingest.maintenance.swap import Lander
    from ingest.maintenance.tiers import Group

_LOG = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a round put together. `small_files`: live ones below half the target, before it;
    `problems`: why something was not done that was begun.
    """

    data_files: int = 0
    small_files: int = 0
    groups: int = 0
    replaced_files: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    is_more_left: bool = False
    refused: str = ""
    problems: tuple[str, ...] = ()


class Pace:
    """Keeps to a share of one core, and ends where it must not go on.

    `CancelledError` ends the work under way.
    """

    def __init__(self, clock: Clock, share: float, may_go_on: Callable[[], bool]) -> None:
        self._clock = clock
        self._share = share
        self._may_go_on = may_go_on
        self._resumed_s = clock.monotonic_s()

    def __call__(self) -> None:
        """Called after each part of the work."""
        worked_s = self._clock.monotonic_s() - self._resumed_s
        if not self._may_go_on():
            raise CancelledError("maintenance was asked to pause")
        pause_s = worked_s * (1 - self._share) / self._share
        if pause_s > 0:
            self._clock.sleep(min(pause_s, _LONGEST_PAUSE_S))
        self._resumed_s = self._clock.monotonic_s()


@dataclass
class Maintainer:
    """Used by one thread. `lander`: how its swaps get into the table."""

    table: MaintainedTable
    lander: Lander
    clock: Clock
    settings: MaintenanceSettings
    _collector: Collector = field(init=False)

    def __post_init__(self) -> None:
        times = Times(self.settings.orphan_grace_s, self.settings.compact_within_s)
        self._collector = Collector(self.table, self.clock, times)

    def compact(
        self,
        may_go_on: Callable[[], bool],
        *,
        dry_run: bool = False,
        round_bytes: int | None = None,
    ) -> Compacted:
        """Put small files together, no more than `round_bytes` of them.

        Raises UnavailableError, OperatorError, FencedError.
        """
        settings, now_s = self.settings, self.clock.wall_s()
        head = self.table.head()
        if head.marker is None:
            return Compacted(refused="it has no marker, so it is not the sidecar's")
        live = self.table.live(head, now_s)
        target = settings.compact_target_bytes
        small = sum(2 * f.size_bytes < target for f in live.files)
        if live.refused:
            return Compacted(len(live.by_path), small, refused=live.refused)
        groups = plan(live.files, target, now_s)
        chosen = groups if round_bytes is None else _within(groups, round_bytes)
        tally = _Tally()
        for group in chosen:
            if not may_go_on():
                break
            if dry_run:
                tally.add(group.files, group.rows, group.size_bytes, group.size_bytes)
                continue
            try:
                self._compact(group, tally, may_go_on)
            except (CancelledError, UnavailableError) as error:
                _LOG.warning("%s", error)
                tally.problems.append(str(error))
        return Compacted(
            data_files=len(live.by_path) - (0 if dry_run else tally.replaced - tally.groups),
            small_files=small,
            groups=tally.groups,
            replaced_files=tally.replaced,
            rows=tally.rows,
            bytes_before=tally.bytes_before,
            bytes_after=tally.bytes_after,
            is_more_left=len(chosen) < len(groups) and not tally.problems,
            problems=tuple(tally.problems),
        )

    def collect(self, may_go_on: Callable[[], bool], *, dry_run: bool = False) -> Collected:
        """Remove files that nothing needs. Raises as `Collector.run` does."""
        return self._collector.run(may_go_on, dry_run=dry_run)

    def _compact(self, group: Group, tally: _Tally, may_go_on: Callable[[], bool]) -> None:
        begun_s = self.clock.wall_s()
        pace = Pace(self.clock, self.settings.compact_cpu_share, may_go_on)
        head = self.table.head()  # anew: the one before may be some groups old
        live = self.table.live(head, begun_s)
        if any(f.path not in live.by_path for f in group.files):
            return

        def pause() -> None:
            self.lander.failpoint("compaction.writing")
            pace()

        swap = self.table.rewrite(head, live, group, begun_s, pause)
        if swap is None:
            return
        self.lander.failpoint("compaction.after_write")
        self.lander.land(swap)
        sizes = sum(f.file_size_in_bytes for f in swap.replaced)
        made = sum(f.file_size_in_bytes for f in swap.added)
        rows = sum(f.record_count for f in swap.added)
        tally.add(swap.replaced, rows, sizes, made)
        _LOG.info(
            "compacted table=%s files=%d rows=%d bytes=%d into=%d duration_ms=%d",
            self.table.name, len(swap.replaced), rows, sizes, made,
            round((self.clock.wall_s() - begun_s) * 1000),
        )  # fmt: skip


@dataclass
class _Tally:
    groups: int = 0
    replaced: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, files: tuple[object, ...], rows: int, before: int, after: int) -> None:
        self.groups += 1
        self.replaced += len(files)
        self.rows += rows
        self.bytes_before += before
        self.bytes_after += after


def _within(groups: list[Group], limit_bytes: int) -> list[Group]:
    """The first groups that stay within the limit together, at least one."""
    chosen: list[Group] = []
    size_bytes = 0
    for group in groups:
        size_bytes += group.size_bytes
        if chosen and size_bytes > limit_bytes:
            break
        chosen.append(group)
    return chosen
