"""`highwater verify` on a broker's topic in which nothing is wrong, and while a sidecar runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition

from highwater.verify.report import as_text
from tests.support.sidecar_world import TEXT
from tests.support.verify_lab import DEAD, RETAINED, VerifyLab, a_history, value

if TYPE_CHECKING:
    from tests.support.broker import TopicFactory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> VerifyLab:
    return VerifyLab(tmp_path, bootstrap, new_topic(3, RETAINED))


def command(lab: VerifyLab, *flags: str) -> subprocess.CompletedProcess[str]:
    """The real command."""
    line = [sys.executable, "-m", "highwater", "verify", "--data-dir", str(lab.data)]
    line += ["--kafka", lab.bootstrap, "--tables", str(lab.definition_path), *flags]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_table_with_every_kind_of_history_passes(lab: VerifyLab) -> None:
    a_history(lab)

    report = lab.report()

    assert report.ledger.findings == []
    ranges = {r.partition: r for r in report.ranges}
    assert {p: (r.from_offset, r.to_offset) for p, r in ranges.items()} == {
        p: (0, end) for p, end in lab.ends.items()
    }
    assert (ranges[1].dead_letters, ranges[1].duplicates) == (3, 1)
    assert ranges[2].holes == 3  # two control records and an aborted message
    assert [s.check for s in report.ledger.states() if s.outcome == "skipped"] == []
    assert any("keep the number of rows" in note for note in report.ledger.notes)


def test_what_retention_has_deleted_is_checked_by_structure(lab: VerifyLab) -> None:
    a_history(lab)
    where = [TopicPartition(lab.topic, 0, 7), TopicPartition(lab.topic, 1, 4)]
    admin = lab.admin()
    for deleted in admin.delete_records(where).values():
        deleted.result(30)

    report = lab.report()

    assert report.ledger.findings == []
    assert {r.partition: r.log_from for r in report.ranges} == {0: 7, 1: 4, 2: 0}


def test_it_passes_while_a_sidecar_commits(lab: VerifyLab) -> None:
    lab.produce(0, *(value(f"a{i}") for i in range(20)), b"poison")
    lab.ingest()
    snapshots = set()
    with lab.sidecar(flush_rows=3, flush_interval_s=0.05, expire_every_commits=5, keep_snapshots=2):
        for turn in range(4):
            lab.produce(turn % 3, *(value(f"{turn}-{i}") for i in range(40)), b"poison")
            report = lab.report()
            assert report.ledger.findings == [], as_text([lab.verify()])
            snapshots.add(report.snapshot_id)

    assert len(snapshots) > 1


def test_the_command_says_ok_as_text_and_as_json(lab: VerifyLab, tmp_path: Path) -> None:
    a_history(lab)

    done = command(lab)
    assert done.returncode == 0, done.stderr
    assert "Everything that was checked holds." in done.stdout
    assert done.stderr == ""

    done = command(lab, "--format", "json", "--output", str(tmp_path / "report.json"))
    assert (done.returncode, done.stdout) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["outcome"] == "ok"
    (table,) = report["tables"]
    assert table["marker"]["topic"] == lab.topic
    assert table["findings"] == []


def test_the_exit_code_tells_a_finding_from_a_check_that_was_impossible(lab: VerifyLab) -> None:
    lab.produce(1, value("a"), b"poison")
    lab.ingest()
    with lab.table(DEAD) as table:
        table.delete("_offset = 1")

    done = command(lab, "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["tables"][0]["findings_total"] > 0

    lab.definition_path.write_text(TEXT.replace('topic = "trades"', 'topic = "no-such-topic"'))
    done = command(lab)
    assert done.returncode == 2
    assert "topic 'no-such-topic' does not exist" in done.stdout

    done = command(lab, "--namespace", "elsewhere")
    assert done.returncode == 2
    assert "there is no table elsewhere.trades" in done.stdout

    done = command(lab, "--data-dir", str(lab.home / "nothing"))
    assert done.returncode == 2
    assert "there is no catalog file" in done.stdout


def test_a_broker_that_does_not_answer_is_no_finding(lab: VerifyLab) -> None:
    lab.produce(0, value("a"))
    lab.ingest()

    outcome = lab.verify(kafka="127.0.0.1:1", timeout_s=0.5)

    assert outcome.word == "unchecked"
    assert "the broker does not answer" in outcome.reason
