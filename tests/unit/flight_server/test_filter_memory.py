from __future__ import annotations

from flight_server.query.filter_memory import FilterMemory


def test_the_text_that_was_asked_longest_ago_is_forgotten_first() -> None:
    memory = FilterMemory(entries_max=2)
    memory.keep("a", {"trades": []})
    memory.keep("b", {"trades": None})
    memory.recall("a")
    memory.keep("c", {})

    assert memory.recall("a") == {"trades": []}
    assert memory.recall("b") is None
    assert memory.recall("c") == {}


def test_a_very_long_text_is_not_kept() -> None:
    memory = FilterMemory()
    memory.keep("x" * 20_000, {})

    assert memory.recall("x" * 20_000) is None
