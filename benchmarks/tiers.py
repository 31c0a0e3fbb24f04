"""The diagram of a platform's tiers, drawn from docs/tiers.toml and recorded figures. Pure."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from benchmarks.quotes import rewritten
from highwater.svg import COLOURS, INK, RULE, SOFT, Drawing

if TYPE_CHECKING:
    from benchmarks.quotes import Figures

_WIDTH = 860.0
_TOP = 60.0
_ROW = 96.0


def tiers(source: str, figures: Figures) -> str:
    """The drawing. A `figure` of the source is `benchmark.name`, written as its `as` is."""
    content = tomllib.loads(source)
    rows = content["tier"]
    drawing = Drawing(_WIDTH, _TOP + _ROW * len(rows) + 14, content["title"])
    drawing.text(20, 34, content["title"], size=17, bold=True)
    for number, tier in enumerate(rows):
        y = _TOP + _ROW * number
        ours = bool(tier.get("figures"))
        drawing.rect(20, y, _WIDTH - 40, _ROW - 12, "#ddf4ff" if ours else "#f6f8fa", RULE)
        drawing.rect(20, y, 6, _ROW - 12, COLOURS[0] if ours else SOFT)
        drawing.text(42, y + 26, f"{tier['name']}, {tier['limit']}", size=15, bold=True)
        drawing.text(42, y + 48, tier["work"], fill=INK)
        drawing.text(42, y + 69, tier["runs"], fill=SOFT, size=12)
        for line, item in enumerate(tier.get("figures", [])):
            benchmark, _, name = item["figure"].partition(".")
            value = rewritten(item["as"], figures[benchmark][name], name)
            drawing.text(
                _WIDTH - 40, y + 21 + 18 * line, f"{item['what']}: {value}", "end", size=12
            )
    return drawing.svg()
