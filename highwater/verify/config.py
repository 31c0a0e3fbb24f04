"""Settings of `highwater verify`."""

from __future__ import annotations

from dataclasses import dataclass

from contract.settings import CommonSettings, setting


@dataclass(frozen=True)
class VerifySettings(CommonSettings):
    """Check that every offset below the marker is in table, dead letters or duplicates, once."""

    format: str = setting("text", doc="Form of the report", choices=("text", "json"))
    output: str = setting("", doc="File to write to", default_doc="standard output")
    strip_rows: int = setting(
        200_000, doc="Offsets that are held in memory at once", unit="offsets", minimum=1
    )
    timeout_s: float = setting(
        30.0, doc="Longest wait for the broker", unit="s", minimum=0.1, maximum=86_400
    )
