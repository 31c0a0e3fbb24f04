from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import RequestError
from flight_server.protocol.placeholders import rewrite

_OPAQUE = [
    "'?'",
    "'it''s ?'",
    "'\\'",
    "E'\\'?'",
    "e'a''?'",
    '"?"',
    '"a""?"',
    "`?`",
    "-- ?\n",
    "/* ? */",
    "/* /* ? */ ? */",
    "$$ ? $$",
    "$tag$ ? $$ $tag$",
    "name",
    "a$b",
    "'漢?'",
    " 12 ",
    "(",
    " - ",
    " / ",
]


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("a = ?", "a = $1"),
        ("a=?and b=?", "a=$1 and b=$2"),
        ("select?", "select $1"),
        ("(?,?)", "($1,$2)"),
        ("??", "$1$2"),
        ("a = $1", "a = $1"),
        ("a = $name", "a = $name"),
        ("'unterminated ?", "'unterminated ?"),
        ("/* unterminated ?", "/* unterminated ?"),
        ("$t$ unterminated ?", "$t$ unterminated ?"),
        ("", ""),
    ],
)
def test_question_marks_are_numbered(sql: str, wanted: str) -> None:
    assert rewrite(sql).sql == wanted


@pytest.mark.parametrize(("sql", "has"), [("$1", True), ("a$1", False), ("$", False), ("?", True)])
def test_placeholders_are_noticed(sql: str, has: bool) -> None:
    assert rewrite(sql).has_placeholders is has


def test_mixed_placeholders_are_refused() -> None:
    with pytest.raises(RequestError, match="not both"):
        rewrite("a = ? and b = $1")


@given(st.lists(st.sampled_from([*_OPAQUE, "?"])))
def test_only_free_question_marks_become_parameters(pieces: list[str]) -> None:
    """Model: the pieces that are `?`, numbered, with everything else as it was."""
    numbers = iter(range(1, len(pieces) + 1))
    wanted = [f"${next(numbers)}" if piece == "?" else piece for piece in pieces]

    assert rewrite(" ".join(pieces)).sql == " ".join(wanted)


@given(st.text(alphabet="?$'\"`-/*aeE1\\ \n", max_size=40))
def test_any_text_is_scanned_to_its_end(sql: str) -> None:
    try:
        rewritten = rewrite(sql).sql
    except RequestError:
        return

    assert rewritten.count("?") <= sql.count("?")


@pytest.mark.parametrize("unit", ["E'", "/*", "$a", "''", "\\", "E'\\", "$$"])
def test_a_megabyte_of_anything_is_scanned_in_linear_time(unit: str) -> None:
    """Far below a minute, which a quadratic scan would not be."""
    text = unit * (1_000_000 // len(unit))

    assert rewrite(text).sql == text


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("select current_schema", "select current_schema()"),
        (
            "select CURRENT_CATALOG(), current_database",
            "select CURRENT_CATALOG, current_database()",
        ),
        (
            "select current_schema(), current_schema ( )",
            "select current_schema(), current_schema ( )",
        ),
        ("select current_user( ) || current_user", "select current_user || current_user"),
        ("select 'current_schema' as current_schema", "select 'current_schema' as current_schema"),
        ("select t.current_schema -- current_schema", "select t.current_schema -- current_schema"),
        ('select "current_schema" from t', 'select "current_schema" from t'),
    ],
)
def test_functions_of_standard_sql_get_the_parentheses_that_the_engine_wants(
    sql: str, wanted: str
) -> None:
    assert rewrite(sql).sql == wanted
