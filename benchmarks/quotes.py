"""Figures quoted in pages: a link to the file that holds the figure, whose title is its name.

    visible after [9.3 ms](figures/freshness.json "answer_p50_ms") at the median

The text of the link is a number, as precise as it was written (two digits at least), with `k` or
`M` for thousands or millions if wanted, and the unit that the figure's name ends with. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Figures = dict[str, dict[str, float]]  # by benchmark and name

QUOTE = re.compile(r"\[([^\]\n]+)\]\(((?:[\w.-]+/)*figures/(\w+)\.json) \"(\w+)\"\)")
_TEXT = re.compile(r"(\$?)(\d[\d,]*(?:\.\d+)?)( ?)(k\b|M\b|)( ?)(.*)")
_SCALES = {"": 1.0, "k": 1e3, "M": 1e6}
_UNITS = {
    "_ms": "ms",
    "_us_per_message": "µs",
    "_bytes": "bytes",
    "_mb": "MB",
    "_s": "s",
    "_per_s": "",
    "_per_core_s": "",
    "_bytes_per_row": "bytes",
    "_bytes_per_message": "bytes",
    "_ratio": "",
}


class QuoteError(ValueError):
    """A page quotes what no file holds, or in a way that cannot be checked."""


def requoted(page: str, figures: Mapping[str, Mapping[str, float]]) -> str:
    """The page with every quoted figure as its file has it now; equal if all were right."""

    def one(match: re.Match[str]) -> str:
        text, target, benchmark, name = match.groups()
        if name not in figures.get(benchmark, {}):
            raise QuoteError(f"{text}: {benchmark}.json has no figure {name}")
        return f'[{rewritten(text, figures[benchmark][name], name)}]({target} "{name}")'

    return QUOTE.sub(one, page)


def rewritten(text: str, value: float, name: str) -> str:
    """`value` written as `text` writes its number: the same digits, scale and unit."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise QuoteError(f"{text!r} is not a number with a unit")
    sign, number, gap, scale, space, unit = match.groups()
    wanted = unit_of(name)
    if unit != wanted:
        raise QuoteError(f"{text!r} quotes {name}, whose unit is {wanted or 'not written'!r}")
    shown = rounded(value / _SCALES[scale], _digits(number))
    return f"{sign}{shown}{gap}{scale}{space}{unit}"


def unit_of(name: str) -> str:
    """The unit in which a figure is quoted, from the end of its name."""
    ends = [end for end in _UNITS if name.endswith(end)]
    return _UNITS[max(ends, key=len)] if ends else ""


def rounded(value: float, digits: int) -> str:
    """A number with so many significant digits, and commas between thousands."""
    rough = float(f"{value:.{digits - 1}e}")
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{rough:,.{max(0, digits - 1 - exponent)}f}"


def _digits(number: str) -> int:
    """Significant digits of a number as written: two at least, as zeros at its end may be none."""
    plain = number.replace(",", "")
    whole = plain if "." in plain else plain.rstrip("0")
    return max(2, len(whole.replace(".", "").lstrip("0")))
