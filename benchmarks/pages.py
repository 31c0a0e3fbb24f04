"""Make anew what is made of recorded figures: `python -m benchmarks.pages`.

From docs/figures come the measured inputs of the cost model, its results, its plots, the diagram
of the tiers, and every number that a page quotes. A test compares.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.quotes import Figures, requoted
from benchmarks.tiers import tiers
from highwater.cost.command import RATES
from highwater.cost.decide import Platform, savings
from highwater.cost.inputs import MEASURED, Workload, load_prices, measured_of, rate_of
from highwater.cost.model import COMPONENTS
from highwater.cost.plots import plots
from highwater.cost.report import as_table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIGURES = DOCS / "figures"
COST_PAGE = DOCS / "cost-model.md"
POSITIONING_PAGE = DOCS / "positioning.md"

_OUTPUT = ("<!-- output of highwater cost -->\n```\n", "```\n<!-- end of output -->")
_RUNS = ("<!-- the recorded runs -->\n", "\n<!-- end of the runs -->")
_SOURCES = {  # input of the cost model -> benchmark and figure
    "message_bytes": ("decode", "message_bytes"),
    "topic_bytes_per_message": ("decode", "lz4_message_bytes"),
    "lake_bytes_per_row": ("joint", "lake_bytes_per_row"),
    "tail_bytes_per_row": ("tail", "tail_bytes_per_row"),
    "sidecar_messages_per_s": ("ingest", "sustained_messages_per_s"),
    "sidecar_cpu_us_per_message": ("ingest", "cpu_us_per_message"),
    "sidecar_memory_mb": ("ingest", "rss_peak_mb"),
    "server_messages_per_s": ("tail", "follow_messages_per_s"),
    "server_cpu_us_per_message": ("tail", "follow_cpu_us_per_message"),
    "server_memory_mb": ("tail", "anonymous_rss_peak_mb"),
    "scanned_rows_per_core_s": ("joint", "scanned_rows_per_core_s"),
    "objects_per_commit": ("ingest", "objects_per_commit"),
}


def make() -> None:
    """Write all of it."""
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def made() -> dict[Path, str]:
    """What every file that depends on recorded figures should hold."""
    records = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(FIGURES.glob("*.json"))
        if path.stem != "cost"
    }
    figures: Figures = {name: record["figures"] for name, record in records.items()}
    measured = _measured(records)
    platform = Platform(Workload(), load_prices(), measured_of(tomllib.loads(measured)))
    rates = [rate_of(text) for text in RATES]
    figures["cost"] = _cost_figures(platform)
    cost = {"benchmark": "cost", "prices": platform.prices.date, "figures": figures["cost"]}
    found = {
        MEASURED: measured,
        FIGURES / "cost.json": json.dumps(cost, indent=2) + "\n",
        DOCS / "tiers.svg": tiers((DOCS / "tiers.toml").read_text(encoding="utf-8"), figures),
        **{DOCS / "cost" / name: text for name, text in plots(platform, rates).items()},
    }
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        found[page] = requoted(page.read_text(encoding="utf-8"), figures)
    found[COST_PAGE] = _filled(found[COST_PAGE], _OUTPUT, as_table(platform, rates))
    for page in (COST_PAGE, POSITIONING_PAGE):
        found[page] = _filled(found[page], _RUNS, _runs(records))
    return found


def _measured(records: dict[str, Any]) -> str:
    lines = ["# Made by `python -m benchmarks.pages` from docs/figures: of which run each is.", ""]
    for name, (benchmark, figure) in _SOURCES.items():
        record = records[benchmark]
        run = f"{'quick ' if record['quick'] else ''}run of {record['recorded_on']}"
        value = record["figures"][figure]
        lines.append(f"{name} = {value:g}  # {benchmark}.{figure}, {run}")
    return "\n".join(lines) + "\n"


def _cost_figures(platform: Platform) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in RATES:
        estimate = platform.at(rate_of(text))
        found[f"at_{text}_usd_per_month"] = estimate.total_usd_per_month
        found[f"at_{text}_usd_per_million"] = estimate.usd_per_million
        for name in COMPONENTS:
            found[f"at_{text}_{name}_usd_per_month"] = estimate.usd_per_month[name]
        found[f"at_{text}_sidecars"] = estimate.sizes["sidecars"]
        one, three, tiering = savings(platform, rate_of(text))
        found[f"at_{text}_reserved_3_years_usd_per_month"] = three.usd_per_month
        found[f"at_{text}_reserved_1_year_usd_per_month"] = one.usd_per_month
        found[f"at_{text}_tiering_usd_per_month"] = tiering.usd_per_month
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _runs(records: dict[str, Any]) -> str:
    """How, when and where the figures came about; benchmarks that share these in one line."""
    by_run: dict[str, list[str]] = {}
    for name, record in records.items():
        machine = record["machine"]
        size = "quick runs" if record["quick"] else "runs in full"
        note = f" ({record['note']})" if record["note"] else ""
        run = (
            f"{size} of {record['recorded_on']} on {machine['cores']} cores, {machine['cpu']}{note}"
        )
        by_run.setdefault(run, []).append(f"`{name}`")
    return "\n".join(f"- {', '.join(names)}: {run}" for run, names in by_run.items())


def _filled(page: str, place: tuple[str, str], text: str) -> str:
    """The page with what stands between two comments made anew."""
    start, end = place
    before, found, rest = page.partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"the page has no {start.splitlines()[0]}")
    return before + start + text + end + after


if __name__ == "__main__":
    make()
