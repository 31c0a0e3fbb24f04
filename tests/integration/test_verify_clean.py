"""`highwater verify` on tables in which nothing is wrong, whatever their history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from highwater.verify.report import as_text, overall
from tests.support.verify_lab import VerifyLab, value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.broker import TopicFactory


@pytest.fixture
def lab(tmp_path: Path, bootstrap: str, new_topic: TopicFactory) -> VerifyLab:
    return VerifyLab(tmp_path, bootstrap, new_topic(partitions=3))


def test_a_table_with_every_kind_of_history_passes(lab: VerifyLab) -> None:
    lab.produce(0, *(value(f"a{i}", 10 * i) for i in range(12)))
    lab.produce(1, value("b0"), b"poison", None, value("b0"), value("b1", 5), value("b2", 500))
    lab.transaction(2, value("c0"), value("c1"), commit=True)
    lab.transaction(2, value("c2"), commit=False)
    lab.ingest()

    outcome = lab.verify()

    print(as_text([outcome]))
    assert overall([outcome]) == "ok"
