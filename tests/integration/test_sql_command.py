"""`highwater sql` against a real Flight SQL server over a small engine."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from highwater.cli import main
from ingest.kafka.ports import free_port
from tests.support.flight_fixture import sample_engine, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """A server with small tables."""
    engine = sample_engine()
    nested = {"l": [["x", "y"], None], "n": [1, None], "b": [b"\x00\xff", b""]}
    engine.add("nested", pa.table(nested))
    with serving(engine) as running:
        yield f"grpc://127.0.0.1:{running.port}"


def sql(uri: str, statement: str, *argv: str) -> int:
    return main(["sql", "--uri", uri, *argv, statement], {})


def test_a_table_is_aligned_and_counted(
    uri: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert sql(uri, "select a, s from t order by a") == 0

    assert capsysbinary.readouterr().out.decode().splitlines() == [
        "a  s",
        "-  --",
        "1  x",
        "2  y",
        "3  z%",
        "(3 rows)",
    ]


def test_a_long_table_says_what_it_leaves_out(
    uri: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert sql(uri, "select n from many", "--max-rows", "5") == 0

    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert len(lines) == 8
    assert lines[-1].startswith("(1,000,000 rows, 5 shown")


def test_csv_and_json_hold_every_value(
    uri: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    statement = "select n, l, b from nested order by n"
    assert sql(uri, statement, "--format", "csv") == 0
    rows = list(csv.reader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert sql(uri, statement, "--format", "json") == 0
    objects = json.loads(capsysbinary.readouterr().out)
    assert sql(uri, "select price, at from kinds limit 1", "--format", "json") == 0
    exact = json.loads(capsysbinary.readouterr().out)

    assert rows == [["n", "l", "b"], ["1", '["x", "y"]', "00ff"], ["", "", ""]]
    assert objects == [{"n": 1, "l": ["x", "y"], "b": "00ff"}, {"n": None, "l": None, "b": ""}]
    assert exact == [{"price": "1.00000000", "at": "1970-01-01T00:00:00+00:00"}]


def test_no_row_is_an_empty_answer_in_each_form(
    uri: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    found = {}
    for form in ("table", "csv", "json", "arrow"):
        assert sql(uri, "select a from t where a > 9", "--format", form) == 0
        found[form] = capsysbinary.readouterr().out

    assert found["table"].decode().splitlines()[-1] == "(0 rows)"
    assert found["csv"].decode().strip() == '"a"'
    assert json.loads(found["json"]) == []
    assert pa.ipc.open_stream(found["arrow"]).read_all().num_rows == 0


def test_an_arrow_file_holds_the_whole_answer(uri: str, tmp_path: Path) -> None:
    target = tmp_path / "many.arrow"

    assert sql(uri, "select n from many", "--format", "arrow", "--output", str(target)) == 0

    with pa.OSFile(str(target)) as file:
        assert pa.ipc.open_stream(file).read_all().num_rows == 1_000_000


def test_the_receipt_is_json_beside_the_answer(
    uri: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert sql(uri, "select a from t", "--receipt", "--format", "json") == 0

    captured = capsysbinary.readouterr()
    assert len(json.loads(captured.out)) == 3
    assert json.loads(captured.err)["plan"] > 0


def test_a_wrong_statement_is_one_line_with_the_engines_words(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for statement, words in (
        ("select nothing from t", "nothing"),
        ("selct 1", "selct"),
        ("drop table t", "DDL not supported"),
    ):
        assert sql(uri, statement) == 1

        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert "Traceback" not in line
        assert "Vendor code" not in line
        assert "FlightSQL" not in line
        assert "Python" not in line


def test_an_absent_server_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"grpc://127.0.0.1:{free_port()}"

    assert sql(address, "select 1") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"highwater: no server answers at {address}:"
        " start one with `highwater serve`, or name it with --uri"
    )


def test_a_statement_is_read_from_standard_input(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("select 7 as seven"))
    assert main(["sql", "--uri", uri], {}) == 0
    assert b"seven" in capsysbinary.readouterr().out

    monkeypatch.setattr("sys.stdin", io.StringIO(" "))
    assert main(["sql", "--uri", uri], {}) == 2
    assert b"there is no statement" in capsysbinary.readouterr().err


def test_a_file_that_cannot_be_written_is_named(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sql(uri, "select 1", "--output", str(tmp_path / "no" / "file")) == 2
    assert "--output" in capsys.readouterr().err
