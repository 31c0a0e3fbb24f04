"""The Python blocks of `docs/clients.md`, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flight_server.options import OPTIONS
from tests.support.flight_fixture import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.joint import Joint

_TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
_SECTIONS = [section.partition("\n") for section in _TEXT.split("\n## ")[1:]]
_ELSEWHERE = "SQLAlchemy"  # in an environment of its own: test_dbapi.py
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SNIPPETS = [
    pytest.param(block, id=heading)
    for heading, _, body in _SECTIONS
    for block in _BLOCK.findall(body)
    if heading != _ELSEWHERE
]
_ADDRESS = "127.0.0.1:31337"


@pytest.fixture(scope="module")
def port(live: Joint) -> Iterator[int]:
    with serving(live.engine) as server:
        yield server.port


@pytest.mark.parametrize("snippet", _SNIPPETS)
def test_snippet_runs(snippet: str, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ADDRESS in snippet
    names: dict[str, Any] = {}

    exec(snippet.replace(_ADDRESS, f"127.0.0.1:{port}"), names)

    printed = capsys.readouterr().out
    assert any(word in printed for word in ("BTCUSDT", "200", "system"))


def test_every_client_has_its_section() -> None:
    headings = [heading for heading, _, _ in _SECTIONS]

    assert [name for name in headings if name != "Options of a session"] == [
        "ADBC (Python)",
        "pandas",
        "polars",
        "DuckDB",
        "pyarrow alone",
        "SQLAlchemy",
        "JDBC: DBeaver, Tableau, Metabase",
        "Grafana",
        "Power BI",
    ]
    assert len(_SNIPPETS) == 6


def test_the_sql_for_grafana_gives_a_time_series(live: Joint) -> None:
    (sql,) = re.findall(r"^```sql\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)

    answer = live.ask(sql)

    assert str(answer.schema.field("time").type) == "timestamp[ns]"
    assert str(answer.schema.field("price").type) == "double"
    assert answer.num_rows > 0


def test_the_options_of_the_page_are_those_of_the_server() -> None:
    table = _TEXT[_TEXT.index("| option |") :]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = set(re.findall(r"`([a-z_.]+)`", " ".join(cells)))

    assert named <= set(OPTIONS)
    assert {"catalog", "schema", "highwater.time_zone", "highwater.timestamps"} <= named
