"""Settings of the sidecar."""

from __future__ import annotations

from dataclasses import dataclass

from contract.settings import setting
from ingest.maintenance.config import MaintenanceSettings

_MIB = 1024 * 1024


@dataclass(frozen=True)
class IngestSettings(MaintenanceSettings):
    """Copy topics into Iceberg tables, exactly once."""

    flush_interval_s: float = setting(
        5.0, doc="Oldest age of a row before it is committed", unit="s", minimum=0.05
    )
    flush_rows: int = setting(
        262_144, doc="Rows that are committed at once", unit="rows", minimum=1
    )
    buffer_rows_max: int = setting(
        1_048_576,
        doc="Rows in memory, buffered or being committed, at which fetching pauses",
        unit="rows",
        minimum=1,
    )
    buffer_bytes_max: int = setting(
        512 * _MIB,
        doc="Bytes in memory, buffered or being committed, at which fetching pauses",
        unit="bytes",
        minimum=_MIB,
    )
    poll_messages: int = setting(
        10_000, doc="Messages taken from the consumer at once", unit="messages", minimum=1
    )
    poll_timeout_s: float = setting(
        0.1, doc="Longest wait for messages", unit="s", minimum=0.001, maximum=1.0
    )
    topic_check_s: float = setting(
        5.0,
        doc="Time between looks at the topic, and at the table while nothing is committed",
        unit="s",
        minimum=0.1,
    )
    retry_first_s: float = setting(
        0.05, doc="First wait before a failed commit is tried again", unit="s", minimum=0.001
    )
    retry_max_s: float = setting(
        5.0, doc="Longest wait before a failed commit is tried again", unit="s", minimum=0.01
    )
    shutdown_timeout_s: float = setting(
        30.0, doc="Longest time to commit what was read after SIGTERM", unit="s", minimum=0.0
    )
    accept_gaps: bool = setting(
        False, doc="Go on when Kafka deleted messages that were not ingested; notes it in the table"
    )
    health_port: int = setting(
        31339, doc="Port of /healthz and /readyz on loopback; 0 for none", minimum=0, maximum=65_535
    )
    expire_every_commits: int = setting(
        50, doc="Commits between expirations of snapshots; 0 turns them off", minimum=0
    )
    maintenance_interval_s: float = setting(
        30.0,
        doc="Time between rounds of compaction; 0 turns it and collection off",
        unit="s",
        minimum=0.0,
    )
    orphan_interval_s: float = setting(
        300.0, doc="Time between looks for files that nothing needs", unit="s", minimum=0.1
    )
