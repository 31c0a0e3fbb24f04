"""Hypothesis profiles, markers by folder, and the fixtures that many folders share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings

from tests.support.broker import bootstrap, broker, new_topic

if TYPE_CHECKING:
    import pytest

__all__ = ["bootstrap", "broker", "new_topic"]

# No deadline: the machine that runs the tests may be busy with a broker.
settings.register_profile("dev", max_examples=50, stateful_step_count=30, deadline=None)
settings.register_profile(
    "ci", max_examples=200, stateful_step_count=75, deadline=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_MARKED_FOLDERS = ("integration", "simulation", "conformance", "e2e")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long broker and catalog stay away in tests/e2e/test_outages.py, and at which rate."""
    parser.addoption("--outage-s", type=float, default=60.0)
    parser.addoption("--outage-rate", type=int, default=10_000, help="messages/s of each table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by the folder that it lies in."""
    for item in items:
        folder = Path(str(item.path)).parent.name
        if folder in _MARKED_FOLDERS:
            item.add_marker(folder)
