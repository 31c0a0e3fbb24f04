"""Settings of the maintenance, shared by the sidecar and `highwater maintain`."""

from __future__ import annotations

from dataclasses import dataclass

from contract.settings import CommonSettings, setting

_MIB = 1024 * 1024


@dataclass(frozen=True)
class MaintenanceSettings(CommonSettings):
    """What both need to agree on."""

    keep_snapshots: int = setting(
        20, doc="Newest snapshots that an expiration keeps", unit="snapshots", minimum=2
    )
    compact_target_bytes: int = setting(
        128 * _MIB,
        doc="Size up to which small files of a day are put together; 0 turns it off",
        unit="bytes",
        minimum=0,
    )
    compact_round_bytes: int = setting(
        512 * _MIB,
        doc="Bytes of small files that one round of the maintenance puts together",
        unit="bytes",
        minimum=_MIB,
    )
    compact_cpu_share: float = setting(
        0.5, doc="Share of one core that it takes meanwhile", minimum=0.01, maximum=1.0
    )
    compact_within_s: float = setting(
        300.0,
        doc="Longest time from a compacted file's beginning to its commit; longer than clocks of "
        "machines that use the table may differ",
        unit="s",
        minimum=0.5,
    )
    orphan_grace_s: float = setting(
        3_600.0,
        doc="How long a file is kept after nothing needs it; longer than a transaction (half an "
        "hour), the server's `ticket_ttl_s` and its longest statement together",
        unit="s",
        minimum=0.0,
    )


@dataclass(frozen=True)
class MaintainSettings(MaintenanceSettings):
    """Put small files together, expire snapshots, and remove files that nothing needs."""

    once: bool = setting(False, doc="Do what there is to do, then end")
    dry_run: bool = setting(False, doc="Say what would be done, and change nothing")
    format: str = setting("text", doc="Form of the report", choices=("text", "json"))
    retry_first_s: float = setting(
        0.05, doc="First wait before a failed commit is tried again", unit="s", minimum=0.001
    )
    retry_max_s: float = setting(
        2.0, doc="Longest wait before a failed commit is tried again", unit="s", minimum=0.01
    )
