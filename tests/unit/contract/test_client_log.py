"""What is heard of a client's own words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contract.client_log import ClientLog

if TYPE_CHECKING:
    import pytest


def said(line: str) -> tuple[int, str, str, str, str]:
    """A line of the lowest severity in the form that the client gives it."""
    return logging.DEBUG, "%s [%s] %s", "METADATA", "client", line


def test_the_newest_id_of_each_topic_is_known() -> None:
    client = ClientLog(logging.getLogger("client"))
    for line in ("a changed id from AAAA to one==", "b changed id from AAAA to x/y+z"):
        client.log(*said(f"[thrd:main]: Topic {line}"))
    client.log(*said("[thrd:main]: Topic a changed id from one== to two=="))
    client.log(*said("[thrd:main]: Topic a changed state exists -> unknown"))

    assert [client.topic_id(topic) for topic in "abc"] == ["two==", "x/y+z", ""]


def test_errors_are_passed_on_and_the_rest_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = ClientLog(logging.getLogger("client"))
    client.log(logging.ERROR, "%s [%s] %s", "FAIL", "client", "Connection refused")
    client.log(logging.INFO, "%s [%s] %s", "FAIL", "client", "Disconnected")
    client.log(*said("a word"))

    assert caplog.messages == ["FAIL [client] Connection refused"]
