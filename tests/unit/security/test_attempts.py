"""Guessing passwords: how soon it gets slow, for whom, and at what cost in memory."""

from __future__ import annotations

from flight_server.security.attempts import FREE, AttemptLimiter
from tests.support.log_model import ManualClock


def fail(limiter: AttemptLimiter, name: str, times: int = FREE) -> None:
    for _ in range(times):
        assert limiter.begin(name) == 0


def test_a_few_mistakes_are_free() -> None:
    limiter = AttemptLimiter(ManualClock(), b"key")

    fail(limiter, "alice")

    assert limiter.begin("alice") == 1.0
    assert limiter.begin("bob") == 0


def test_waits_double_up_to_a_minute() -> None:
    clock = ManualClock()
    limiter = AttemptLimiter(clock, b"key")
    fail(limiter, "alice")

    waits = []
    for _ in range(9):
        waits.append(limiter.begin("alice"))
        clock.sleep(waits[-1])
        assert limiter.begin("alice") == 0

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_day_of_guessing_is_fewer_than_two_thousand_attempts() -> None:
    clock = ManualClock()
    limiter = AttemptLimiter(clock, b"key")
    end_s, attempts = clock.now_s + 86_400, 0

    while clock.now_s < end_s:
        wait_s = limiter.begin("alice")
        attempts += wait_s == 0
        clock.sleep(wait_s)

    assert attempts < 2_000


def test_attempts_that_are_under_way_count_as_failed() -> None:
    """Else many at once would all be the first one."""
    limiter = AttemptLimiter(ManualClock(), b"key")

    tried = [limiter.begin("alice") for _ in range(100)]

    assert tried.count(0) == FREE


def test_a_success_forgets_the_failures() -> None:
    limiter = AttemptLimiter(ManualClock(), b"key")
    fail(limiter, "alice", FREE - 1)

    assert limiter.begin("alice") == 0
    limiter.succeeded("alice")

    fail(limiter, "alice")


def test_a_quarter_of_an_hour_forgets_them_too() -> None:
    clock = ManualClock()
    limiter = AttemptLimiter(clock, b"key")
    fail(limiter, "alice")

    clock.sleep(900)

    fail(limiter, "alice")
    assert limiter.begin("alice") > 0


def test_a_flood_of_names_takes_bounded_memory_and_frees_nobody() -> None:
    limiter = AttemptLimiter(ManualClock(), b"key")
    fail(limiter, "alice")

    for i in range(20_000):
        limiter.begin(f"made up {i}")

    assert len(limiter) <= 4096
    assert limiter.begin("alice") > 0
