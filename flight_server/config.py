"""Settings of `highwater serve`."""

from __future__ import annotations

from dataclasses import dataclass

from contract.settings import CommonSettings, setting
from flight_server.security.config import SecuritySettings

MIB = 1024 * 1024


@dataclass(frozen=True)
class ServeSettings(CommonSettings, SecuritySettings):
    """Serve the tables over Arrow Flight SQL."""

    host: str = setting("127.0.0.1", doc="Address to listen on; beyond loopback with TLS and users")
    port: int = setting(
        31337, doc="Port to listen on; 0 takes a free one", minimum=0, maximum=65535
    )
    health_port: int = setting(
        31338, doc="Port of /healthz and /readyz on loopback; 0 for none", minimum=0, maximum=65_535
    )
    cores: int = setting(
        0, doc="Cores that one statement may use; 0 means all", minimum=0, maximum=1024
    )
    memory_limit_bytes: int = setting(
        2048 * MIB,
        doc="Memory of all statements; each has a share of it, above which it spills to disk",
        unit="bytes",
        minimum=64 * MIB,
    )
    spill_limit_bytes: int = setting(
        16 * 1024 * MIB,
        doc="Disk that one statement may spill to; whole GiB",
        unit="bytes",
        minimum=1024 * MIB,
    )
    refresh_interval_s: float = setting(
        0.1, doc="How often the catalog is asked for new snapshots", unit="s", minimum=0.01
    )
    tail_disk_bytes: int = setting(
        32 * 1024 * MIB,
        doc="Disk that the resident tail may use; at the cap the cut stands still",
        unit="bytes",
        minimum=64 * MIB,
    )
    poll_messages: int = setting(
        10_000, doc="Most messages that the follower takes at once", minimum=1, maximum=100_000
    )
    poll_wait_s: float = setting(
        0.003,
        doc="How long the follower gathers messages before it shows them; 10 ms while few come",
        unit="s",
        minimum=0.001,
        maximum=1.0,
    )
    lagging_messages: int = setting(
        10_000, doc="A receipt says `lagging` above this many messages behind the log", minimum=0
    )
    lagging_s: float = setting(2.0, doc="... or this long behind it", unit="s", minimum=0.0)
    stalled_s: float = setting(
        10.0,
        doc="A receipt says `stalled` when the broker was silent for so long",
        unit="s",
        minimum=0.1,
    )
    statements_max: int = setting(
        32, doc="Statements that run at once; more wait for 5 s, then are refused", minimum=1
    )
    statements_waiting_max: int = setting(
        64, doc="Statements that wait for their turn; more are refused at once", minimum=0
    )
    statement_limit_s: float = setting(
        600.0, doc="How long a statement may run, its fetching included", unit="s", minimum=1.0
    )
    tickets_max: int = setting(
        256, doc="Planned statements kept; the one unused for longest goes first", minimum=1
    )
    ticket_ttl_s: float = setting(
        300.0, doc="How long a planned statement can be fetched", unit="s", minimum=1.0
    )
    drain_s: float = setting(
        10.0, doc="How long running statements may go on after SIGTERM", unit="s", minimum=0.0
    )
