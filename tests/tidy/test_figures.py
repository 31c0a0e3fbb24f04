"""Pages, plots and measured inputs say what the recorded figures say."""

from __future__ import annotations

import json
import re

from benchmarks.pages import DOCS, FIGURES, ROOT, made
from benchmarks.quotes import QUOTE
from highwater.cost.model import COMPONENTS

RECORDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FIGURES.glob("*.json")
}


def test_everything_made_of_figures_is_what_they_say_now() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in made().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]

    assert stale == [], "run: python -m benchmarks.pages"


def test_a_record_says_when_of_what_and_on_which_machine() -> None:
    for name, record in RECORDS.items():
        if name != "cost":
            assert record["benchmark"] == name
            assert {"recorded_on", "revision", "quick", "figures", "machine"} <= set(record)
            assert {"cores", "cpu", "python", "datafusion"} <= set(record["machine"])


def test_a_quote_links_to_the_file_that_holds_it() -> None:
    quoted = 0
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for match in QUOTE.finditer(page.read_text(encoding="utf-8")):
            quoted += 1
            assert (page.parent / match[2]).resolve() == FIGURES / f"{match[3]}.json", match[0]
    assert quoted > 10


def test_what_the_cost_page_says_in_words_is_still_so() -> None:
    cost = RECORDS["cost"]["figures"]
    usd = {name: cost[f"at_1M_{name}_usd_per_month"] for name in COMPONENTS}

    assert max(usd, key=lambda name: usd[name]) == "storage"
    assert usd["network"] > usd["broker"] + usd["compute"]
    assert cost["at_1M_tiering_usd_per_month"] > cost["at_1M_reserved_3_years_usd_per_month"]
    assert cost["at_10k_tiering_usd_per_month"] < cost["at_10k_reserved_3_years_usd_per_month"]


def test_our_own_latencies_are_never_quoted_without_their_record() -> None:
    """Beside the tiers' limits, the positioning page has no bare milliseconds of ours."""
    page = (DOCS / "positioning.md").read_text(encoding="utf-8")
    bare = QUOTE.sub("", page).partition("## Beside others")[0]

    assert set(re.findall(r"\d[\d.,]* ?(?:ms|µs)\b", bare)) <= {"10 µs", "10 ms", "500 ms"}
