"""What can go wrong, what must have been reached, and how one seed chooses among it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class Fault(Enum):
    """A kind of fault. Rates are per port call, or (the second part) chosen now and then."""

    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    UNKNOWN_LANDED = "unknown but landed"
    UNKNOWN_LOST = "unknown and lost"
    UNKNOWN_LATE = "unknown and landing later"
    SLOW = "slow"
    POLL_GAP = "poll gap"
    REBALANCE = "partitions move to another broker"
    REDELIVERY = "duplicate delivery"
    REFUSED_OFFSET = "offset out of range"
    SIDECAR_CRASH = "crash of the sidecar"
    SERVER_CRASH = "crash of the server"
    DISK_FULL = "disk full"

    POISON = "poison message"
    TOMBSTONE = "tombstone"
    CONTROL_RECORDS = "control records"
    REPEATED_IDS = "repeated ids"
    CLOCK_JUMP = "clock jump"
    BROKER_DOWN = "broker down"
    RETENTION = "retention"
    NEW_PARTITION = "new partition"
    FOREIGN_COMMIT = "foreign commit"
    FOREIGN_EXPIRY = "foreign expiry of all but the head"
    PROPERTY_LOST = "marker lost from the properties"
    ROLLBACK = "rollback"
    PINNED_LEVEL = "level of the breaker pinned"
    SENSITIVE_BREAKER = "breaker that little load moves"
    SECOND_SIDECAR = "second sidecar"
    SIDECAR_STOP = "sidecar asked to stop"
    SERVER_STOP = "server asked to stop"
    COLD_START = "tail files removed"
    DAMAGED_FILE = "tail file damaged"
    REBOOT = "reboot"
    DISK_CAP = "small disk cap"
    TOPIC_RECREATED = "topic recreated"
    TRUNCATION = "truncation"
    MARKER_LOST = "marker lost"


PER_CALL = tuple(Fault)[: tuple(Fault).index(Fault.POISON)]
TERMINAL = (Fault.TOPIC_RECREATED, Fault.TRUNCATION, Fault.MARKER_LOST)


class Reached(Enum):
    """A state that the simulation must get into somewhere, or it proves nothing about it."""

    READ_BACK = "unknown commit found in the table"
    SENT_AGAIN = "unknown commit sent again"
    LATE_LANDED = "late commit landed"
    LATE_REFUSED = "late commit refused"
    CONFLICT_RESOLVED = "conflict resolved with the files written before"
    FENCED = "older sidecar fenced"
    STOPPED_CLEANLY = "last flush on request"
    GAP_REFUSED = "sidecar stopped at a gap"
    GAP_NOTED = "gap noted"
    ROLLED_BACK = "sidecar stopped by a rollback"
    TOPIC_OTHER = "sidecar stopped by a recreated topic"
    TRUNCATED = "sidecar stopped by a truncated log"
    MARKER_MISSED = "sidecar stopped without a marker"
    COPY_REFUSED = "sidecar refused the copy of a marker that was rolled back"
    DUPLICATES = "duplicates dropped"
    DEAD_LETTERS = "dead letters committed"
    DEAD_LETTERS_SKIPPED = "dead letters not written twice"
    PAUSED = "fetching paused by a full buffer"
    LANE_BEHIND = "commit with a lane behind"
    BACKFILL = "log read again for a lane that had waited"
    STARTED_ABOVE = "sidecar started at the level that was left"
    LEVEL_ROSE = "level raised by a signal"
    LEVEL_FELL = "level lowered in the table"
    GAP_OF_LANES_NOTED = "gap of some lanes noted"
    PARTITION_ADDED = "new partition ingested"
    SEEDED = "duplicate rule seeded from the table"
    MARKER_FROM_PROPERTY = "marker read from the properties"
    EXPIRED = "snapshots expired"
    COMPACTED = "compaction carried the marker forward"
    COMPACTION_FENCED = "compaction of an older sidecar refused"
    COMPACTION_GIVEN_UP = "compaction given up"
    WARM_START = "server started on mapped files"
    COLD_STARTED = "server started without files"
    SEALED = "chunk sealed"
    TRIMMED = "sealed chunk trimmed"
    SEAL_REFUSED = "no room to seal"
    VIEW_WITHDRAWN = "view withdrawn"
    VIEW_BACK = "view back after it was withdrawn"
    VIEW_STALLED = "view stalled"
    VIEW_COMPLETE = "view complete"
    SEAM_INSIDE_CHUNK = "watermark inside a chunk"
    PINNED_OUTLIVES = "pinned view outlived its chunks"
    SERVER_BROKEN = "server refused to answer"
    LAKE_UNREADABLE = "refresher could not read the table"


@dataclass
class Plan:
    """One seed's choice: how often each kind of fault happens, and how large everything is."""

    rates: dict[Fault, float]
    events: tuple[Fault, ...]  # of the second part of `Fault`
    terminal: Fault | None
    chaos_s: float
    messages: int
    partitions: int
    ids: int
    poll_messages: int
    flush_rows: int
    buffer_rows: int
    flush_interval_s: float
    seal_rows: int
    merge_segments: int
    disk_cap_bytes: int
    open_bytes: int
    accept_gaps: bool
    late_decoding: bool
    counts: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(random: Random) -> Plan:
        """Swarm testing: each seed has a subset of the faults, from calm to brutal."""
        share = random.choice((0.0, 0.2, 0.4, 0.6, 0.9))
        heat = random.choice((0.5, 1.0, 1.0, 2.0))
        rates = {
            fault: heat * random.choice((0.01, 0.03, 0.08))
            for fault in PER_CALL
            if random.random() < share
        }
        for crash in (Fault.SIDECAR_CRASH, Fault.SERVER_CRASH):
            if crash in rates:
                rates[crash] = heat * random.choice((0.002, 0.006, 0.012))
        others = [f for f in Fault if f not in PER_CALL and f not in TERMINAL]
        poll = random.choice((3, 5, 8, 16))
        flush = random.choice((4, 8, 16))
        small_cap = random.choice((40_000, 60_000, 100_000))
        events = [f for f in others if random.random() < share]
        terminal = random.choice(TERMINAL) if random.random() < 0.12 else None
        return Plan(
            rates=rates,
            events=tuple(events),
            terminal=terminal,
            chaos_s=random.uniform(6.0, 20.0),
            messages=random.choice((20, 40, 60, 90)),
            partitions=random.choice((1, 1, 2, 3)),
            ids=random.choice((6, 12, 100)),
            poll_messages=poll,
            flush_rows=flush,
            buffer_rows=random.choice((flush + 2, 3 * flush)),
            flush_interval_s=random.choice((0.6, 1.5, 3.0)),
            seal_rows=random.choice((4, 10, 40)),
            merge_segments=random.choice((2, 3)),
            disk_cap_bytes=small_cap if Fault.DISK_CAP in events else 10**9,
            open_bytes=random.choice((300, 1_200)) if Fault.DISK_CAP in events else 10**9,
            accept_gaps=random.random() < 0.6,
            late_decoding=random.random() < 0.4,
        )
