"""`highwater breaker`: pin the level of a sidecar's breaker, release it, or show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from contract.definition import load_definition
from contract.errors import RequestError
from contract.levels import Level
from contract.settings import common, load, setting
from ingest.breaker import Pin
from ingest.pins import PinFile, pin_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from contract.clock import Clock

SHOW, RELEASE = "show", "release"
_DAY_S = 86_400.0


@dataclass(frozen=True)
class BreakerSettings:
    """Pin the level of the sidecar's breaker; it must use the same --data-dir."""

    action: str = setting(
        SHOW,
        doc="A level to pin, release to take the pin away, or show",
        choices=(*Level.__members__, RELEASE, SHOW),
        positional=True,
    )
    reason: str = setting("", doc="Why; needed to pin, and shown wherever the level is")
    for_s: float = setting(
        3_600.0, doc="When the pin ends by itself", unit="s", minimum=1.0, maximum=7 * _DAY_S
    )
    data_dir: Path = common("data_dir")
    tables: tuple[str, ...] = common("tables")


def run(argv: list[str], environ: Mapping[str, str], clock: Clock | None = None) -> int:
    """Do it and print what is pinned; 0. Raises RequestError for the settings."""
    settings = load(BreakerSettings, "breaker", argv, environ)
    now_s = (clock or SystemClock()).wall_s()
    if settings.action in Level.__members__ and not settings.reason.strip():
        raise RequestError("--reason: a pin needs one; it is shown wherever the level is")
    for name in settings.tables:
        table = load_definition(name).name
        file = PinFile(pin_path(settings.data_dir, table))
        if settings.action == RELEASE:
            file.remove()
        elif settings.action != SHOW:
            level = Level[settings.action]
            file.write(Pin(level, " ".join(settings.reason.split()), now_s + settings.for_s))
        print(f"{table}: {_words(file(), now_s)}")
    return 0


def _words(pin: Pin | None, now_s: float) -> str:
    if pin is None or pin.until_s <= now_s:
        return "no level is pinned"
    until = datetime.fromtimestamp(pin.until_s, UTC).isoformat(timespec="seconds")
    return f"pinned at {pin.level.name} until {until}: {pin.reason}"
