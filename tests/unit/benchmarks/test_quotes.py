"""Figures quoted in pages."""

from __future__ import annotations

import pytest

from benchmarks.quotes import QuoteError, requoted, rewritten

FIGURES = {"run": {"answer_p50_ms": 9.3412, "rate_per_s": 210_649.0, "row_bytes": 61.2}}


def quote(text: str, name: str) -> str:
    return f'after [{text}](figures/run.json "{name}"), or so'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("9.3 ms", "answer_p50_ms"),
        ("9.34 ms", "answer_p50_ms"),
        ("211 k", "rate_per_s"),
        ("210,600", "rate_per_s"),
        ("0.21 M", "rate_per_s"),
        ("$210,000", "rate_per_s"),
        ("61 bytes", "row_bytes"),
    ],
)
def test_a_number_that_the_file_holds_stays(text: str, name: str) -> None:
    assert requoted(quote(text, name), FIGURES) == quote(text, name)


@pytest.mark.parametrize(
    ("text", "name", "right"),
    [
        ("9.4 ms", "answer_p50_ms", "9.3 ms"),
        ("212 k", "rate_per_s", "211 k"),
        ("9,000 ms", "answer_p50_ms", "9.3 ms"),
        ("1,000,000", "rate_per_s", "210,000"),
    ],
)
def test_another_number_is_put_right(text: str, name: str, right: str) -> None:
    assert requoted(quote(text, name), FIGURES) == quote(right, name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("9.3 s", "answer_p50_ms"),
        ("9.3", "answer_p50_ms"),
        ("fast", "answer_p50_ms"),
        ("1", "none"),
    ],
)
def test_a_quote_with_another_unit_or_of_no_figure_is_refused(text: str, name: str) -> None:
    with pytest.raises(QuoteError):
        requoted(quote(text, name), FIGURES)


def test_other_links_are_left_alone() -> None:
    page = 'see [9.9 ms](other.md "answer_p50_ms") and [figures](figures/)'

    assert requoted(page, FIGURES) == page


def test_a_small_number_keeps_its_digits() -> None:
    assert rewritten("$0.0875", 0.030412, "x_usd_per_million") == "$0.0304"
    assert rewritten("3.9", 4.04, "objects_per_commit") == "4.0"


def test_precision_does_not_wear_off_from_one_record_to_the_next() -> None:
    page = quote("211 k", "rate_per_s")
    for value in (200_000.0, 209_649.0):
        page = requoted(page, {"run": {"rate_per_s": value}})

    assert page == quote("210 k", "rate_per_s")
