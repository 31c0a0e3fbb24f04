"""`highwater cost`: forms of the answer, and bad input."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from highwater.cli import main
from highwater.cost.inputs import PRICES

if TYPE_CHECKING:
    from pathlib import Path


def asked(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["cost", *argv], {}) == 0
    return capsys.readouterr().out


def test_the_three_forms_have_the_same_total(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ("--messages-per-s", "20k,2M")
    document = json.loads(asked(capsys, *rates, "--format", "json"))
    lines = list(csv.DictReader(io.StringIO(asked(capsys, *rates, "--format", "csv"))))
    table = asked(capsys, *rates)

    assert [found["messages_per_s"] for found in document["estimates"]] == [20_000, 2_000_000]
    for found in document["estimates"]:
        components = [
            float(line["value"])
            for line in lines
            if line["kind"] == "component"
            and float(line["messages_per_s"]) == found["messages_per_s"]
        ]
        assert sum(components) == pytest.approx(found["total_usd_per_month"])
        assert f"{found['total_usd_per_month']:,.0f}" in table
        assert f"{found['usd_per_million']:.4f}" in table


def test_a_flag_changes_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    long, short = (
        json.loads(asked(capsys, "--format", "json", "--lake-retention-days", days))
        for days in ("1000", "10")
    )

    for more, less in zip(long["estimates"], short["estimates"], strict=True):
        assert more["usd_per_month"]["storage"] == pytest.approx(
            100 * less["usd_per_month"]["storage"]
        )


def test_plots_are_well_formed_and_name_every_component(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked(capsys, "--plots", str(tmp_path / "new" / "plots"))

    drawn = {path.name: path.read_text() for path in (tmp_path / "new" / "plots").iterdir()}
    assert set(drawn) == {"by-component.svg", "by-rate.svg", "sensitivity.svg"}
    for text in drawn.values():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(name in drawn["by-component.svg"] for name in ("broker", "monitoring"))


@pytest.mark.parametrize("rate", ["0", "-1", "1e12", "nan", "fast", "", "10k,10000"])
def test_an_impossible_scale_is_one_line(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", f"--messages-per-s={rate}"], {}) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "--messages-per-s" in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("put_usd_per_1000", "puts_usd_per_1000", "unknown key lake_puts_usd_per_1000"),
        ("put_usd_per_1000", "puts_usd_per_1000", "the nearest is lake_put_usd_per_1000"),
        ("usd_per_gb_month = 0.023", "usd_per_gb_month = -0.023", "at least 0"),
        ("usd_per_gb_month = 0.023", 'usd_per_gb_month = "cheap"', "not a number"),
        ("usd_per_gb_month = 0.023", "usd_per_gb_month = nan", "not a number"),
        ("memory_gib = 16", "", "lacks node_memory_gib"),
        ("vcpus = 4", "vcpus = 0", "above 0"),
        ("1_year_discount_share = 0.34", "1_year_discount_share = 1.5", "below 1"),
        ('region = "us-east-1"', "region = 7", "region is not a text"),
        ("[lake]", "[lake", "cannot be read"),
    ],
)
def test_a_wrong_price_file_is_one_line_that_names_the_key(
    old: str, new: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PRICES.read_text()
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new, 1))

    assert main(["cost", "--prices", str(file)], {}) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "mine.toml" in line
    assert str(tmp_path) not in line


def test_a_price_file_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", "--prices", str(tmp_path / "none.toml")], {}) == 2

    assert "none.toml cannot be read" in capsys.readouterr().err


def test_plots_that_cannot_be_written_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["cost", "--plots", str(tmp_path / "file")], {}) == 2

    assert "--plots" in capsys.readouterr().err
