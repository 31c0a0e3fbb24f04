"""The page about Kafka names a test for each promise."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ("test_kafka_messages.py", "test_kafka_topics.py")


def test_the_page_about_kafka_and_its_tests_name_each_other() -> None:
    page = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")
    code = "".join((ROOT / "tests" / "e2e" / name).read_text(encoding="utf-8") for name in FILES)

    named = set(re.findall(r"`(test_\w+)`", page))

    assert named == set(re.findall(r"^def (test_\w+)", code, re.MULTILINE))
