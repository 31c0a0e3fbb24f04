from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.protocol.like import matches, narrow


def _model(pattern: str, text: str) -> bool:
    parts = {"%": ".*", "_": "."}
    tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
    wanted = "".join(
        re.escape(token[1]) if len(token) == 2 else parts.get(token, re.escape(token))
        for token in tokens
    )
    return re.fullmatch(wanted, text, re.DOTALL) is not None


@given(st.text("ab%_\\", max_size=8), st.text("ab%_\\", max_size=8))
def test_like_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    assert matches(pattern, text) is _model(pattern, text)


@pytest.mark.parametrize("pattern", ["%a" * 50_000, "%" * 100_000 + "x", "a%" * 50_000 + "b"])
def test_hostile_patterns_end_at_once(pattern: str) -> None:
    """25: the regular expression of these would run for longer than anybody waits"""
    assert not matches(pattern, "a" * 60)


def test_pattern_that_is_a_name_means_that_name() -> None:
    names = {"a_b", "axb", "c"}

    assert narrow("a_b", names) == {"a_b"}
    assert narrow("a_b", {"axb", "ayb"}) == {"axb", "ayb"}
    assert narrow("a_b%", names) == {"a_b", "axb"}
    assert narrow(None, names) == names
    assert narrow("", names) == set()
