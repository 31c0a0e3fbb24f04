"""Settings of the sidecar."""

from __future__ import annotations

import math
from dataclasses import dataclass

from contract.errors import RequestError
from contract.settings import setting
from ingest.breaker import Band, Bands, Dwell, Signal, Thresholds, problem_of
from ingest.maintenance.config import MaintenanceSettings

_MIB = 1024 * 1024


@dataclass(frozen=True)
class IngestSettings(MaintenanceSettings):
    """Copy topics into Iceberg tables, exactly once.

    The four bands of a signal are of the breaker's levels above NORMAL (`ingest.breaker`).
    """

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
    breaker: bool = setting(
        True, doc="Let lanes wait under overload (docs/breaker.md); a pinned level counts anyway"
    )
    breaker_lag_messages: tuple[str, ...] = setting(
        ("1e6:5e5", "4e6:2e6", "1.2e7:6e6", "4e7:2e7"),
        doc="Bands of the levels LIGHT, MODERATE, SEVERE, CRITICAL, each ENTER:LEAVE or - for never"
        ": messages between what was read and the log's end",
        unit="messages",
    )
    breaker_lag_s: tuple[str, ...] = setting(
        ("60:20", "300:120", "900:400", "3600:1800"),
        doc="The same: age of the newest message that was read, while there are more",
        unit="s",
    )
    breaker_buffer_share: tuple[str, ...] = setting(
        ("0.7:0.5", "0.8:0.7", "0.9:0.8", "0.97:0.9"),
        doc="The same: bytes in memory as a share of --buffer-bytes-max",
    )
    breaker_rss_share: tuple[str, ...] = setting(
        ("0.75:0.65", "0.85:0.75", "0.92:0.85", "0.97:0.92"),
        doc="The same: memory of the process as a share of --rss-max-bytes",
    )
    breaker_commit_s: tuple[str, ...] = setting(
        ("15:8", "40:20", "90:50", "180:100"),
        doc="The same: duration of the last flush, or so far of the one under way",
        unit="s",
    )
    breaker_failed_commits: tuple[str, ...] = setting(
        ("4:0", "8:4", "16:8", "32:16"),
        doc="The same: attempts to commit that failed in a row",
        unit="attempts",
    )
    breaker_dead_letter_share: tuple[str, ...] = setting(
        ("0.3:0.1", "0.7:0.4", "-", "-"),
        doc="The same: dead letters as a share of the messages of the last 10 s",
    )
    breaker_up_s: float = setting(
        2.0, doc="Shortest time at a level before a higher one", unit="s", minimum=0.0
    )
    breaker_down_s: float = setting(
        15.0,
        doc="Shortest time at a level, and since a signal held it, before the one below",
        unit="s",
        minimum=0.0,
    )
    breaker_wait_max_s: float = setting(
        14_400.0,
        doc="Longest time that a lane waits: then it is read again at any level, until it has "
        "caught up; much shorter than the topic's retention",
        unit="s",
        minimum=0.0,
    )
    rss_max_bytes: int = setting(
        4 * 1024 * _MIB,
        doc="Memory of the process at which fetching pauses, and the breaker's cap",
        unit="bytes",
        minimum=256 * _MIB,
    )

    def __post_init__(self) -> None:
        """Check what can't be said of one number alone."""
        super().__post_init__()
        self.breaker_thresholds()

    def breaker_thresholds(self) -> Thresholds:
        """The bands of all signals. RequestError, with the setting's name, where they don't fit."""
        return {s: _bands(s, getattr(self, f"breaker_{s.value}")) for s in _MEASURED}

    def breaker_dwell(self) -> Dwell:
        """How long levels last at least."""
        return Dwell(self.breaker_up_s, self.breaker_down_s)


_MEASURED = tuple(s for s in Signal if s is not Signal.PIN)
_BANDS = 4
_NEVER = "-"


def _bands(signal: Signal, texts: tuple[str, ...]) -> Bands:
    name = f"--breaker-{signal.value.replace('_', '-')}"
    if len(texts) != _BANDS:
        raise RequestError(f"{name}: {len(texts)} bands, {_BANDS} are needed: one a level")
    bands = tuple(None if text == _NEVER else _band(name, text) for text in texts)
    if problem := problem_of(bands):
        raise RequestError(f"{name}: {problem}")
    return bands


def _band(name: str, text: str) -> Band:
    enter, _, leave = text.partition(":")
    try:
        band = Band(float(enter), float(leave))
    except ValueError:
        raise RequestError(f"{name}: {text!r} is not ENTER:LEAVE, two numbers, or -") from None
    if not math.isfinite(band.enter) or not math.isfinite(band.leave):
        raise RequestError(f"{name}: {text!r} is not ENTER:LEAVE, two finite numbers")
    return band
