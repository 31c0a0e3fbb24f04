"""What the documents show is run as it stands, against the live table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.joint import sample_messages
from tests.support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.broker import EmbeddedBroker

ROOT = Path(__file__).parents[2]
DEMO_ADDRESS = "grpc://127.0.0.1:31337"
MESSAGES = sample_messages()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, broker: EmbeddedBroker) -> Iterator[Stack]:
    """One stack for all documents: they only read."""
    broker.create_topic("documents", 2)
    stack = Stack(tmp_path_factory.mktemp("documents"), broker.bootstrap, "documents")
    stack.start("ingest", "--flush-interval-s=0.3")
    stack.start("serve")
    stack.produce(MESSAGES)
    stack.wait_for_rows(len(MESSAGES))
    yield stack
    stack.stop()


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of that language."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "docs/receipt.md", "docs/cuts.md"])
def test_python_snippets_of_a_document_run(
    started: Stack, document: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    snippets = blocks(document, "python")

    for snippet in snippets:
        exec(snippet.replace(DEMO_ADDRESS, f"grpc://127.0.0.1:{started.port}"), names)
    for name in ("cursor", "connection"):
        if name in names:
            names[name].close()

    assert snippets
    printed = capsys.readouterr().out
    shown = "BTCUSDT" in printed or "complete" in printed or "lagging" in printed
    assert shown or document == "docs/cuts.md"  # which asserts itself


def test_sql_of_the_readme_proves_itself(started: Stack) -> None:
    (statement,) = blocks("README.md", "sql")
    (row,) = started.ask(statement)

    assert row["lake"] + row["tail"] == row["all"] == row["cut"] == len(MESSAGES)
