"""Costs as text: a table, CSV, or JSON. Pure."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from highwater.cost.decide import savings, sensitivity, triggers
from highwater.cost.inputs import Workload
from highwater.cost.model import messages_per_month
from highwater.cost.plots import rate_text
from highwater.output import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from highwater.cost.decide import Platform

_SHOWN = 12
_SIZES = {
    "sidecars = tables": "sidecars",
    "server processes": "server_processes",
    "brokers": "brokers",
    "machines": "nodes",
    "topic GB": "topic_gb",
    "lake GB": "lake_gb",
    "commits an hour": "commits_per_h",
    "PUTs a month": "puts_per_month",
    "GETs a month": "gets_per_month",
    "GB between zones a month": "between_zones_gb_per_month",
}


def document(platform: Platform, rates: Sequence[float]) -> dict[str, Any]:
    """All inputs and results as JSON values."""
    estimates = []
    for rate in rates:
        found = platform.at(rate)
        estimates.append(
            {
                "messages_per_s": rate,
                "messages_per_month": messages_per_month(rate),
                "total_usd_per_month": found.total_usd_per_month,
                "usd_per_million": found.usd_per_million,
                "usd_per_month": found.usd_per_month,
                "sizes": found.sizes,
                "triggers": [asdict(trigger) for trigger in triggers(platform, rate)],
                "savings": [asdict(saving) for saving in savings(platform, rate)],
                "sensitivity": [asdict(one) for one in sensitivity(platform, rate)],
            }
        )
    workload = {item.name: getattr(platform.workload, item.name) for item in fields(Workload)}
    return {
        "workload": workload,
        "prices": asdict(platform.prices),
        "measured": asdict(platform.measured),
        "estimates": estimates,
    }


def as_json(platform: Platform, rates: Sequence[float]) -> str:
    """The document, indented."""
    return json.dumps(document(platform, rates), indent=2) + "\n"


def as_csv(platform: Platform, rates: Sequence[float]) -> str:
    """One line for each number: rate, kind, name, value, unit."""
    target = io.StringIO()
    out = csv.writer(target, lineterminator="\n")
    out.writerow(["messages_per_s", "kind", "name", "value", "unit"])
    for found in document(platform, rates)["estimates"]:
        rate = found["messages_per_s"]
        lines = [
            ("component", name, usd, "USD/month") for name, usd in found["usd_per_month"].items()
        ]
        lines += [
            ("total", "total", found["total_usd_per_month"], "USD/month"),
            ("total", "per million", found["usd_per_million"], "USD/million messages"),
        ]
        lines += [("size", name, value, "") for name, value in found["sizes"].items()]
        lines += [("trigger", t["name"], t["due"], t["unit"]) for t in found["triggers"]]
        lines += [("saving", s["name"], s["usd_per_month"], "USD/month") for s in found["savings"]]
        for one in found["sensitivity"]:
            name = f"{one['group']}.{one['name']}"
            lines += [
                ("sensitivity", f"{name} halved", one["half_share"], "of the total"),
                ("sensitivity", f"{name} doubled", one["twice_share"], "of the total"),
            ]
        out.writerows([rate, *line] for line in lines)
    return target.getvalue()


def as_table(platform: Platform, rates: Sequence[float]) -> str:
    """What a person reads first."""
    estimates = [platform.at(rate) for rate in rates]
    heads = [f"{rate_text(rate)} msg/s" for rate in rates]
    components = {
        name: [f"{found.usd_per_month[name]:,.0f}" for found in estimates]
        for name in estimates[0].usd_per_month
    }
    components["total"] = [f"{found.total_usd_per_month:,.0f}" for found in estimates]
    components["per million messages"] = [f"{found.usd_per_million:.4f}" for found in estimates]
    sizes = {
        words: [f"{found.sizes[name]:,.0f}" for found in estimates]
        for words, name in _SIZES.items()
    }
    prices = platform.prices
    return "\n".join(
        [
            f"US dollars a month, prices of {prices.date} ({prices.region}: {prices.source})\n",
            _matrix("component", heads, components),
            _matrix("size", heads, sizes),
            _matrix("decision, when", heads, _triggers(platform, rates)),
            _matrix("saving, US dollars a month", heads, _savings(platform, rates)),
            _matrix("total with it halved / doubled", heads, _sensitivity(platform, rates)),
        ]
    )


def _triggers(platform: Platform, rates: Sequence[float]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for rate in rates:
        for found in triggers(platform, rate):
            due = f"{found.due:,.0f}" if found.due >= 100 else f"{found.due:.3g}"
            rows.setdefault(found.name, []).append(f"{due} {found.unit}")
    return rows


def _savings(platform: Platform, rates: Sequence[float]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for rate in rates:
        for found in savings(platform, rate):
            text = f"{found.usd_per_month:,.0f} ({found.share:.0%})"
            rows.setdefault(found.name, []).append(text)
    return rows


def _sensitivity(platform: Platform, rates: Sequence[float]) -> dict[str, list[str]]:
    """The inputs with the largest effect at any of the rates."""
    by_input: dict[str, list[str]] = {}
    swings: dict[str, float] = {}
    for rate in rates:
        for found in sensitivity(platform, rate):
            text = f"{found.half_share - 1:+.0%} / {found.twice_share - 1:+.0%}"
            by_input.setdefault(found.name, []).append(text)
            swings[found.name] = max(swings.get(found.name, 0.0), found.swing)
    largest = sorted(by_input, key=lambda name: -swings[name])[:_SHOWN]
    return {name: by_input[name] for name in largest}


def _matrix(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    width = max(len(text) for text in (*heads, *(t for row in rows.values() for t in row)))
    columns = {title: list(rows)} | {
        head: [row[number].rjust(width) for row in rows.values()]
        for number, head in enumerate(heads)
    }
    return aligned(pa.table(columns))
