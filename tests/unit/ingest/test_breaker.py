"""The breaker's table: any history of readings, pins and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import RequestError
from contract.levels import Level, deferred_lanes
from contract.table import Lane
from ingest.breaker import Band, Bands, Breaker, Decision, Dwell, Pin, Signal, problem_of
from ingest.config import IngestSettings

# Levels are entered at 10, 20, 30, 40 and left at 5, 15, 25, 35.
BANDS: Bands = tuple(Band(10.0 * i, 10.0 * i - 5) for i in range(1, 5))
FEW: Bands = (Band(2, 0), None, Band(4, 3), None)
DWELL = Dwell(up_s=2.0, down_s=5.0)
LAG, FAILED = Signal.LAG_MESSAGES, Signal.FAILED_COMMITS


@dataclass
class Bench:
    """A breaker, and what it has decided; a second passes with each reading."""

    breaker: Breaker = field(
        default_factory=lambda: Breaker({LAG: BANDS, FAILED: FEW}, DWELL, now_s=0.0)
    )
    now_s: float = 100.0
    decisions: list[tuple[float, Decision]] = field(default_factory=list)

    def read(self, lag: float, failed: float = 0, pin: Pin | None = None, times: int = 1) -> Level:
        for _ in range(times):
            self.now_s += 1.0
            readings = {LAG: lag, FAILED: failed}
            # The wall clock of this bench is a thousand seconds ahead.
            made = self.breaker.update(readings, pin, self.now_s, self.now_s + 1_000)
            if made is not None:
                self.decisions.append((self.now_s, made))
        return self.breaker.level

    def settle(self, lag: float, failed: float = 0) -> Level:
        return self.read(lag, failed, times=60)


steps = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.integers(0, 6),
        st.one_of(st.none(), st.none(), st.sampled_from(Level)),
        st.integers(1, 8),
    ),
    max_size=30,
)
values = st.floats(0, 60)


def test_it_rises_to_the_level_that_is_asked_for_at_once() -> None:
    assert Bench().read(31) is Level.SEVERE


def test_it_falls_one_level_at_a_time() -> None:
    bench = Bench()
    bench.read(45)

    assert bench.settle(0) is Level.NORMAL
    assert [d.after for _, d in bench.decisions] == [
        Level.CRITICAL, Level.SEVERE, Level.MODERATE, Level.LIGHT, Level.NORMAL,
    ]  # fmt: skip
    waits = [later - earlier for (earlier, _), (later, _) in pairwise(bench.decisions)]
    assert waits == [DWELL.down_s] * 4


def test_what_held_a_level_is_told_when_it_is_left() -> None:
    bench = Bench()
    bench.read(22, failed=0)
    bench.read(16, failed=0)

    bench.settle(3, failed=0)

    falls = [d for _, d in bench.decisions if d.after < d.before]
    assert [(d.signal, d.value, d.limit) for d in falls] == [(LAG, 3, 15), (LAG, 3, 5)]


def test_a_level_lasts_before_a_higher_one() -> None:
    bench = Bench()
    bench.read(10)

    assert bench.read(20) is Level.LIGHT
    assert bench.read(20) is Level.MODERATE


def test_within_a_band_the_level_stays() -> None:
    assert Bench().settle(17) is Level.LIGHT
    bench = Bench()
    bench.read(20)
    assert bench.settle(17) is Level.MODERATE
    assert bench.settle(15) is Level.LIGHT


def test_what_holds_a_level_now_and_then_holds_it() -> None:
    bench = Bench()
    bench.read(20)

    for _ in range(10):
        bench.read(0, times=4)
        bench.read(16)

    assert bench.breaker.level is Level.MODERATE


@pytest.mark.parametrize(
    ("lag", "failed", "worst"), [(11, 4, FAILED), (39, 4, LAG), (0, 2, FAILED)]
)
def test_the_worst_signal_decides_and_is_recorded(lag: float, failed: int, worst: Signal) -> None:
    bench = Bench()
    bench.read(lag, failed)

    ((_, decision),) = bench.decisions
    assert decision.signal is worst
    assert decision.value == {LAG: lag, FAILED: failed}[worst]
    assert decision.value >= decision.limit


def test_a_signal_without_a_band_of_a_level_never_asks_for_it() -> None:
    assert Bench().settle(0, failed=3) is Level.LIGHT
    assert Bench().settle(0, failed=10**9) is Level.SEVERE


def test_a_pin_moves_the_level_at_once_and_ends_at_its_time() -> None:
    bench = Bench()
    pin = Pin(Level.SEVERE, "maintenance of the catalog", until_s=1_110.0)

    assert bench.read(0, pin=pin) is Level.SEVERE
    assert bench.decisions[0][1].signal is Signal.PIN
    assert "maintenance of the catalog" in bench.decisions[0][1].words()
    assert bench.read(45, pin=pin, times=8) is Level.SEVERE
    assert bench.read(45, pin=pin) is Level.CRITICAL


def test_a_pin_holds_the_level_down_as_well() -> None:
    bench = Bench()
    pin = Pin(Level.NORMAL, "all of it must be ingested now", until_s=2_000.0)

    assert bench.read(45, pin=pin, times=50) is Level.NORMAL
    assert bench.decisions == []


def test_a_level_that_only_a_pin_has_set_falls_after_it() -> None:
    bench = Bench()
    bench.read(0, pin=Pin(Level.CRITICAL, "a test", until_s=1_102.0))

    assert bench.settle(0) is Level.NORMAL


def test_it_begins_at_the_level_that_was_left() -> None:
    bench = Bench(Breaker({LAG: BANDS, FAILED: FEW}, DWELL, now_s=100.0, level=Level.SEVERE))

    assert bench.read(0, times=4) is Level.SEVERE
    assert bench.read(0) is Level.MODERATE


@given(steps)
def test_no_level_is_shorter_than_its_time_and_none_is_left_out_on_the_way_down(
    history: list[tuple[float, int, Level | None, int]],
) -> None:
    bench = Bench()
    for lag, failed, pinned, times in history:
        pin = Pin(pinned, "test", 10_000.0) if pinned is not None else None
        bench.read(lag, failed, pin, times)

    last_s = 0.0
    for at_s, decision in bench.decisions:
        assert decision.before is not decision.after
        if decision.signal is not Signal.PIN:
            risen = decision.after > decision.before
            assert at_s - last_s >= (DWELL.up_s if risen else DWELL.down_s)
            assert risen or decision.after == decision.before - 1
            assert (decision.value >= decision.limit) is risen or decision.value == decision.limit
        last_s = at_s
    for (_, earlier), (_, later) in pairwise(bench.decisions):
        assert later.before is earlier.after


@given(steps, values, st.integers(0, 6))
def test_constant_readings_end_at_a_level_that_does_not_depend_on_much(
    history: list[tuple[float, int, Level | None, int]], lag: float, failed: int
) -> None:
    """It is at least what they ask for, at most what they hold, and does not change any more."""
    bench = Bench()
    for before, fails, pinned, times in history:
        pin = Pin(pinned, "test", 10_000.0) if pinned is not None else None
        bench.read(before, fails, pin, times)

    level = bench.settle(lag, failed)

    asked = max(sum(lag >= b.enter for b in BANDS if b), 3 if failed >= 4 else failed >= 2)
    held = max(sum(lag > b.leave for b in BANDS if b), 3 if failed > 3 else failed > 0)
    assert asked <= level <= held
    assert bench.settle(lag, failed) is level


def test_which_lanes_wait_grows_with_the_level_and_high_never_does() -> None:
    waiting = [deferred_lanes(level) for level in Level]

    assert all(a <= b for a, b in pairwise(waiting))
    assert waiting[Level.LIGHT] == frozenset()
    assert waiting[Level.MODERATE] == {Lane.LOW}
    assert waiting[Level.CRITICAL] == {Lane.LOW, Lane.MEDIUM}


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ((Band(5, 5),), "LIGHT: 5:5 must be ENTER:LEAVE"),
        ((Band(5, -1),), "at least 0"),
        ((Band(5, 1), Band(5, 4)), "MODERATE is entered at 5, which must be above the 5 of LIGHT"),
        ((Band(5, 1), None, Band(9, 4)), "the bands of LIGHT and SEVERE overlap"),
    ],
)
def test_bands_that_do_not_fit_are_told(bands: Bands, words: str) -> None:
    assert words in problem_of(bands)


@pytest.mark.parametrize(
    ("given_bands", "words"),
    [
        (("1:0", "2:1"), "2 bands, 4 are needed"),
        (("1:0", "2:1", "3:2", "x"), "'x' is not ENTER:LEAVE"),
        (("1:0", "2:1", "3:2", "nan:3"), "two finite numbers"),
        (("1:0", "2:1", "9:2", "4:3"), "CRITICAL is entered at 4"),
        (("1:0", "9:0.5", "10:9", "-"), "overlap"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(
    given_bands: tuple[str, ...], words: str
) -> None:
    with pytest.raises(RequestError, match=f"--breaker-commit-s: .*{words}"):
        IngestSettings(breaker_commit_s=given_bands)


def test_the_defaults_fit_and_cover_every_signal() -> None:
    thresholds = IngestSettings().breaker_thresholds()

    assert thresholds.keys() == {*Signal} - {Signal.PIN}
    assert all(problem_of(bands) == "" for bands in thresholds.values())
