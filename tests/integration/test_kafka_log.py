"""Clients that nobody polls: what they say must not pile up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flight_server.kafka_log import open_ends

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.support.broker import TopicFactory


def test_asking_for_the_end_leaves_nothing_behind_that_waits_for_a_poll(
    bootstrap: str, new_topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Any] = []
    listen: Callable[..., None] = lambda _self, *line: lines.append(line)  # noqa: E731
    monkeypatch.setattr("contract.client_log.ClientLog.log", listen)
    log = open_ends(bootstrap, new_topic(), "test")
    for _ in range(20):
        assert log.bounds(0) == (0, 0)

    log._consumer.consume(1, 0.2)

    assert lines == []
    log.close()
