"""`highwater maintain` on a real table: what it prints, what it does, how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from contract.errors import OperatorError, RequestError
from contract.settings import CommonSettings
from highwater.cli import main
from highwater.maintain import DONE, NOT_DONE, OPERATOR, run
from ingest.iceberg_schema import dead_shape
from ingest.iceberg_table import IcebergTable, open_catalog
from tests.support.maintenance_lab import Lab, an_id
from tests.support.sidecar_world import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Ten small files and their snapshots."""
    catalog = open_catalog(CommonSettings(data_dir=tmp_path))
    made = Lab(catalog, tmp_path)
    IcebergTable(catalog, "public", dead_shape(made.definition), an_id).ensure()
    for _ in range(10):
        made.append()
    yield made
    catalog.close()


def flags(lab: Lab, *more: str) -> list[str]:
    definition = lab.folder / "trades.toml"
    definition.write_text(TEXT)
    own = ["--data-dir", str(lab.folder), "--tables", str(definition), "--log-level", "error"]
    return [*own, "--keep-snapshots", "4", *more]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_dry_run_says_what_would_be_done(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    before = lab.stored("")

    assert run(flags(lab, "--dry-run"), {}) == DONE

    said = capsys.readouterr().out
    assert "public.trades: 10 data files, 10 were small" in said
    assert "10 files (30 rows, 0.0 MiB) would be put together into 1\n" in said
    assert "7 snapshots would be expired" in said
    assert "public.trades_dead: not compacted: it has no marker" in said
    assert lab.stored("") == before


def test_once_does_it_and_once_more_finds_nothing_to_do(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lab.content()

    assert run(flags(lab, "--once", "--format", "json"), {}) == DONE
    first = document(capsys)
    assert run(flags(lab, "--once", "--format", "json"), {}) == DONE
    second = document(capsys)

    rows, dead = first["tables"]
    assert (first["format"], first["dry_run"]) == (1, False)
    assert (rows["table"], dead["table"]) == ("public.trades", "public.trades_dead")
    assert rows["compaction"]["replaced_files"] == 10
    assert rows["compaction"]["data_files"] == 1
    assert rows["expired_snapshots"] == 8
    assert rows["collection"]["open"] > 0
    assert second["tables"][0]["compaction"]["groups"] == 0
    assert second["tables"][0]["expired_snapshots"] == 0
    assert len(lab.live()) == 1
    assert lab.content() == before


def test_files_that_cannot_be_read_are_a_problem_and_the_exit_code_says_so(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = lab.live()[3]
    damaged.write_bytes(b"nothing of the kind")

    assert run(flags(lab, "--once", "--format", "json"), {}) == NOT_DONE

    (problem,) = document(capsys)["tables"][0]["compaction"]["problems"]
    assert "cannot be rewritten" in problem
    assert len(lab.live()) == 10


def test_a_table_that_is_not_there_is_for_a_person(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(flags(lab, "--once", "--namespace", "other"), {}) == OPERATOR
    assert "there is no table other.trades in this catalog" in capsys.readouterr().out


@pytest.mark.parametrize("both", [[], ["--once", "--dry-run"]])
def test_it_wants_to_be_told_which(lab: Lab, both: list[str]) -> None:
    with pytest.raises(RequestError, match="--once to do it, or --dry-run"):
        run(flags(lab, *both), {})


def test_no_catalog_is_made(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no catalog file"):
        run(["--data-dir", str(tmp_path), "--once"], {})
    assert list(tmp_path.iterdir()) == []
    assert main(["maintain", "--data-dir", str(tmp_path), "--once"], {}) == OPERATOR
