from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from contract.errors import BugError, NotFoundError
from flight_server.statements import HandleBounds, HandleStore


@dataclass
class HandClock:
    """Time that only the test moves."""

    now_s: float = 100.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


def _store(clock: HandClock, *, entries_max: int = 3, renew: bool = False) -> HandleStore[str]:
    numbers = itertools.count()
    return HandleStore(
        "ticket",
        bounds=HandleBounds(entries_max),
        ttl_s=10,
        renew=renew,
        clock=clock,
        new_id=lambda: next(numbers).to_bytes(16, "big"),
    )


def test_value_is_found_until_its_time_is_over() -> None:
    clock = HandClock()
    store = _store(clock)
    handle = store.put("a", "me")

    clock.sleep(9.9)
    assert store.get(handle, "me") == "a"
    clock.sleep(0.1)
    with pytest.raises(NotFoundError, match="expired"):
        store.get(handle, "me")


def test_use_renews_the_time_only_where_asked() -> None:
    clock = HandClock()
    store = _store(clock, renew=True)
    handle = store.put("a", "me")
    for _ in range(5):
        clock.sleep(9)
        assert store.get(handle, "me") == "a"


def test_least_recently_used_value_goes_first() -> None:
    store = _store(HandClock())
    first, second, third = (store.put(value, "me") for value in "abc")
    store.get(first, "me")

    fourth = store.put("d", "me")

    assert [store.get(handle, "me") for handle in (first, third, fourth)] == ["a", "c", "d"]
    with pytest.raises(NotFoundError, match="made room for newer ones"):
        store.get(second, "me")


def test_handle_of_another_owner_is_unknown() -> None:
    store = _store(HandClock())
    handle = store.put("a", "me")

    with pytest.raises(NotFoundError):
        store.get(handle, "you")
    with pytest.raises(NotFoundError):
        store.replace(handle, "you", "b")
    assert store.drop(handle, "you", "was closed") is None
    assert store.get(handle, "me") == "a"


def test_dropping_twice_is_fine() -> None:
    store = _store(HandClock())
    handle = store.put("a", "me")

    assert store.drop(handle, "me", "was closed") == "a"
    assert store.drop(handle, "me", "was closed") is None


def test_only_the_owner_is_told_what_happened_to_a_handle() -> None:
    store = _store(HandClock())
    handle = store.put("a", "me")
    store.drop(handle, "me", "was closed")

    with pytest.raises(NotFoundError, match="this ticket was closed"):
        store.get(handle, "me")
    with pytest.raises(NotFoundError, match="is unknown to this server"):
        store.get(handle, "you")


def test_what_happened_is_remembered_of_few_handles() -> None:
    store = _store(HandClock(), entries_max=3)
    handles = [store.put("a", "me") for _ in range(7)]

    with pytest.raises(NotFoundError, match="is unknown"):
        store.get(handles[0], "me")
    with pytest.raises(NotFoundError, match="made room"):
        store.get(handles[1], "me")


def test_a_renewed_value_lives_for_its_whole_time_again() -> None:
    clock = HandClock()
    store = _store(clock)
    handle = store.put("a", "me")
    clock.sleep(9)
    store.renew(handle, "me")
    clock.sleep(9)

    assert store.get(handle, "me") == "a"
    with pytest.raises(NotFoundError):
        store.renew(handle, "you")
    clock.sleep(1)
    with pytest.raises(NotFoundError, match="has expired"):
        store.renew(handle, "me")


def test_expired_values_are_freed_without_being_asked_for() -> None:
    clock = HandClock()
    store = _store(clock)
    store.put("a", "me")
    clock.sleep(11)

    store.purge()

    assert len(store) == 0


def test_short_ids_are_a_bug() -> None:
    store: HandleStore[str] = HandleStore(
        "ticket",
        bounds=HandleBounds(1),
        ttl_s=1,
        renew=False,
        clock=HandClock(),
        new_id=lambda: b"short",
    )

    with pytest.raises(BugError):
        store.put("a", "me")


def _pinning_store(pinned_bytes_max: int, served_bytes_max: int) -> HandleStore[int]:
    """A store of numbers, each of which pins so many bytes."""
    numbers = itertools.count()
    return HandleStore(
        "ticket",
        bounds=HandleBounds(100, pinned_bytes_max, served_bytes_max),
        ttl_s=10,
        renew=False,
        clock=HandClock(),
        new_id=lambda: next(numbers).to_bytes(16, "big"),
        pinned_bytes=lambda size: size,
    )


def test_values_that_pin_too_much_together_go_oldest_first() -> None:
    store = _pinning_store(pinned_bytes_max=10, served_bytes_max=10)
    first, free, second = (store.put(size, "me") for size in (6, 0, 5))
    third = store.put(5, "me")

    with pytest.raises(NotFoundError):
        store.get(first, "me")
    assert [store.get(handle, "me") for handle in (free, second, third)] == [0, 5, 5]


def test_the_newest_value_stays_however_much_it_pins() -> None:
    store = _pinning_store(pinned_bytes_max=10, served_bytes_max=10)
    handle = store.put(1_000, "me")

    assert store.get(handle, "me") == 1_000


def test_served_values_have_a_bound_of_their_own() -> None:
    store = _pinning_store(pinned_bytes_max=100, served_bytes_max=5)
    waiting, first, second = (store.put(size, "me") for size in (50, 4, 4))
    store.mark_served(first)
    assert len(store) == 3
    store.mark_served(second)

    assert store.get(waiting, "me") == 50
    with pytest.raises(NotFoundError):
        store.get(first, "me")
    assert store.get(second, "me") == 4
    store.mark_served(first)
