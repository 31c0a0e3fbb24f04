"""`highwater cost`: what a platform costs in a month, from rates, a workload and prices."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from contract.errors import RequestError
from contract.settings import load, setting
from highwater.cost.decide import Platform
from highwater.cost.inputs import Workload, load_measured, load_prices, rate_of
from highwater.cost.plots import plots
from highwater.cost.report import as_csv, as_json, as_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FORMS = {"table": as_table, "json": as_json, "csv": as_csv}
RATES = ("10k", "1M", "10M")


@dataclass(frozen=True)
class CostSettings(Workload):
    """Say what such a platform costs in a month, by component and for a million messages."""

    messages_per_s: tuple[str, ...] = setting(
        RATES, doc="Mean rates, each with its own column; k and M are understood"
    )
    prices: Path | None = setting(
        None, doc="TOML file of prices", default_doc="highwater/cost/prices.toml"
    )
    format: str = setting("table", doc="Form of the answer", choices=tuple(_FORMS))
    plots: Path | None = setting(
        None, doc="Directory to write the plots to, as SVG", default_doc="no plots"
    )


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Print the costs. Raises RequestError for settings, prices and rates."""
    settings = load(CostSettings, "cost", argv, environ)
    rates = [rate_of(text) for text in settings.messages_per_s]
    if not rates or len(set(rates)) < len(rates):
        raise RequestError("--messages-per-s: give at least one rate, and each only once")
    platform = platform_of(settings)
    print(_FORMS[settings.format](platform, rates), end="")
    if settings.plots is not None:
        _write(plots(platform, rates), settings.plots)
    return 0


def platform_of(settings: CostSettings) -> Platform:
    """The platform that the settings describe."""
    workload = Workload(**{f.name: getattr(settings, f.name) for f in fields(Workload)})
    prices = load_prices() if settings.prices is None else load_prices(settings.prices)
    return Platform(workload, prices, load_measured())


def _write(drawings: Mapping[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in drawings.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"--plots {folder}: {error.strerror}") from error
