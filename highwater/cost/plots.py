"""The plots of a cost model, as SVG text. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from highwater.cost.decide import sensitivity
from highwater.cost.model import COMPONENTS
from highwater.svg import COLOURS, INK, RULE, SOFT, Drawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from highwater.cost.decide import Platform

_WIDTH = 760.0
_LEFT, _RIGHT = 150.0, 30.0
_ROW = 30.0
_SHOWN = 12
_DECADES = (3, 7)  # of the curve: from 1 k to 10 M messages a second
_STEPS = 20  # points in a decade


def plots(platform: Platform, rates: Sequence[float]) -> Mapping[str, str]:
    """Each plot by the name of its file."""
    return {
        "by-component.svg": by_component(platform, rates),
        "by-rate.svg": by_rate(platform, rates),
        "sensitivity.svg": tornado(platform, rates[len(rates) // 2]),
    }


def by_component(platform: Platform, rates: Sequence[float]) -> str:
    """Dollars for a million messages, stacked by component, a bar for each rate."""
    estimates = [platform.at(rate) for rate in rates]
    drawing = Drawing(_WIDTH, 100 + _ROW * len(rates), "Cost of a million messages by component")
    drawing.text(20, 28, "US dollars for a million messages, by component", size=15, bold=True)
    scale = (_WIDTH - _LEFT - 2 * _RIGHT - 50) / max(e.usd_per_million for e in estimates)
    for row, found in enumerate(estimates):
        y = 48 + _ROW * row
        drawing.text(_LEFT - 10, y + 16, f"{rate_text(found.messages_per_s)} msg/s", "end")
        x = _LEFT
        share = found.usd_per_million / found.total_usd_per_month
        for name, colour in zip(COMPONENTS, COLOURS, strict=True):
            width = found.usd_per_month[name] * share * scale
            drawing.rect(x, y, width, _ROW - 8, colour)
            x += width
        drawing.text(x + 8, y + 16, f"${found.usd_per_million:.4f}")
    y = 72 + _ROW * len(rates)
    step = (_WIDTH - 40) / len(COMPONENTS)
    for number, (name, colour) in enumerate(zip(COMPONENTS, COLOURS, strict=True)):
        drawing.rect(20 + step * number, y - 10, 11, 11, colour)
        drawing.text(36 + step * number, y, name, fill=SOFT, size=12)
    return drawing.svg()


def by_rate(platform: Platform, rates: Sequence[float]) -> str:
    """Dollars for a million messages over the rate, both logarithmic."""
    first, last = _DECADES
    points = [10 ** (first + n / _STEPS) for n in range((last - first) * _STEPS + 1)]
    usd = [platform.at(rate).usd_per_million for rate in points]
    low, high = math.floor(math.log10(min(usd))), math.ceil(math.log10(max(usd)))
    left, right, top, bottom = 80.0, _WIDTH - _RIGHT, 50.0, 330.0

    def at(rate: float, cost: float) -> tuple[float, float]:
        across = (math.log10(rate) - first) / (last - first)
        up = (math.log10(cost) - low) / (high - low)
        return left + across * (right - left), bottom - up * (bottom - top)

    drawing = Drawing(_WIDTH, 375, "Cost of a million messages by rate")
    drawing.text(20, 28, "US dollars for a million messages, by rate", size=15, bold=True)
    for decade in range(first, last + 1):
        x, _ = at(10.0**decade, 10.0**low)
        drawing.line([(x, top), (x, bottom)], RULE)
        drawing.text(x, bottom + 18, rate_text(10.0**decade), "middle", SOFT, 12)
    for decade in range(low, high + 1):
        _, y = at(10.0**first, 10.0**decade)
        drawing.line([(left, y), (right, y)], RULE)
        drawing.text(left - 8, y + 4, f"${10.0**decade:g}", "end", SOFT, 12)
    drawing.text((left + right) / 2, bottom + 36, "messages a second", "middle", SOFT, 12)
    drawing.line([at(rate, cost) for rate, cost in zip(points, usd, strict=True)], COLOURS[0], 2)
    for rate in rates:
        if 10.0**first <= rate <= 10.0**last:
            x, y = at(rate, platform.at(rate).usd_per_million)
            drawing.rect(x - 3, y - 3, 6, 6, INK)
    return drawing.svg()


def tornado(platform: Platform, rate: float) -> str:
    """The change of the total with each input at half and at twice its value."""
    shown = sensitivity(platform, rate)[:_SHOWN]
    title = f"Total at {rate_text(rate)} msg/s with one input halved or doubled"
    drawing = Drawing(_WIDTH, 80 + 24 * len(shown), title)
    drawing.text(20, 28, title, size=15, bold=True)
    ends = [share - 1 for found in shown for share in (found.half_share, found.twice_share)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    left = 290.0
    scale = (_WIDTH - left - 2 * 50) / ((high - low) or 1.0)
    middle = left + 50 - low * scale
    for row, found in enumerate(shown):
        y = 48 + 24 * row
        drawing.text(left - 10, y + 13, found.name.replace("_", " "), "end", size=12)
        for share, colour in ((found.half_share, COLOURS[0]), (found.twice_share, COLOURS[6])):
            change = share - 1
            x = middle + min(0.0, change) * scale
            drawing.rect(x, y, abs(change) * scale, 17, colour)
            if abs(change) > 0.001:
                side, gap = ("end", -5) if change < 0 else ("start", 5)
                drawing.text(
                    middle + change * scale + gap, y + 13, f"{change:+.0%}", side, SOFT, 11
                )
    drawing.line([(middle, 42), (middle, 48 + 24 * len(shown))], INK)
    drawing.text(20, 68 + 24 * len(shown), "blue: halved, red: doubled", fill=SOFT, size=12)
    return drawing.svg()


def rate_text(rate: float) -> str:
    """A rate in thousands or millions."""
    for size, word in ((1e6, " M"), (1e3, " k")):
        if rate >= size:
            return f"{rate / size:g}{word}"
    return f"{rate:g}"
