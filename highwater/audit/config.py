"""Settings of `highwater audit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.settings import common, setting

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class AuditSettings:
    """Prove that every answer is what its receipt says, while things go wrong."""

    data_dir: Path = common("data_dir")
    seconds: float = setting(
        600.0, doc="How long questions are asked", unit="s", minimum=1, maximum=86_400
    )
    faults: tuple[str, ...] = setting(
        ("all",), doc="What goes wrong: kinds of docs/audit.md, all or none"
    )
    rounds: int = setting(
        0, doc="End when each fault has come so often; 0 for at the end of the time", minimum=0
    )
    seed: int | None = setting(
        None,
        doc="Decides order and time of the faults, the feed and the questions",
        default_doc="the time of the start",
        minimum=0,
    )
    readers: int = setting(8, doc="Connections that ask at once", minimum=1, maximum=64)
    rate: float = setting(
        500.0, doc="Rate of the feed", unit="messages/s", minimum=1, maximum=20_000
    )
    flush_interval_s: float = setting(
        3.0, doc="Oldest age of a row before it is committed", unit="s", minimum=0.05
    )
    spacing_s: float = setting(
        20.0, doc="Longest quiet time between two faults", unit="s", minimum=0.0
    )
    reask: int = setting(
        1_000,
        doc="Answers asked for again at the end, by their receipts",
        minimum=0,
        maximum=100_000,
    )
    keep: bool = setting(False, doc="Keep all data and logs of the run")
