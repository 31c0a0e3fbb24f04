"""Both processes in virtual time: seeds that hold, states that are reached, traces that repeat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from highwater.simulate.command import run, run_seeds
from highwater.simulate.faults import Fault, Reached
from highwater.simulate.run import simulate
from tests.simulation import planted

if TYPE_CHECKING:
    from highwater.simulate.run import Result

SEEDS = range(200)
COMMAND = [sys.executable, "-m", "highwater", "simulate"]


@pytest.fixture(scope="module")
def result() -> Result:
    """All seeds of this test run."""
    return run_seeds(SEEDS)


def test_no_invariant_is_broken(result: Result) -> None:
    """A failure names its seed: `highwater simulate --seed N --trace` replays it."""
    assert result.seeds == len(SEEDS)
    assert result.failures == {}


def test_every_kind_of_fault_happens(result: Result) -> None:
    assert [f.value for f in Fault if not result.faults[f]] == []


def test_every_state_is_reached(result: Result) -> None:
    """A simulation that never gets into a state proves nothing about it."""
    assert [r.value for r in Reached if not result.reached[r]] == []


def test_the_seeds_do_real_work(result: Result) -> None:
    assert result.commits > 5 * result.seeds
    assert result.messages > 30 * result.seeds
    assert result.steps > 400 * result.seeds
    assert result.views > 2 * result.seeds


@pytest.mark.parametrize("seed", [1, 5, 7])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    first, second = simulate(seed, traced=True), simulate(seed, traced=True)

    assert len(first.trace) > 20
    assert first.trace == second.trace
    assert first.result.digest == second.result.digest


def test_other_seeds_give_other_traces() -> None:
    assert simulate(1, traced=True).trace != simulate(2, traced=True).trace


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_another_process_gives_the_same_trace(hash_seed: str) -> None:
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [*COMMAND, "--seed", "5"], env=environ, capture_output=True, text=True, check=True
    )

    said = json.loads(done.stdout.splitlines()[-1])

    assert said["trace_hash"] == f"{simulate(5).result.digest:016x}"


def test_the_result_does_not_depend_on_the_number_of_processes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--seeds", "24", "--first-seed", "3"], {}) == 0
    alone = capsys.readouterr().out
    assert run(["--seeds", "24", "--first-seed", "3", "--jobs", "2"], {}) == 0

    assert capsys.readouterr().out == alone


def test_a_failure_prints_its_seed_and_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.cut_is_one_too_far(monkeypatch)

    code = run(["--seeds", "2"], {})

    printed = capsys.readouterr()
    assert code == 1
    assert "SIM_SEED=0 InvariantError: tail" in printed.err
    assert "highwater simulate --seed 0 --trace" in printed.err
    assert json.loads(printed.out.splitlines()[-1])["failures"] == [0, 1]


def test_the_trace_of_a_failing_seed_ends_with_what_does_not_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.cut_is_one_too_far(monkeypatch)

    run(["--seed", "0", "--trace"], {})

    lines = capsys.readouterr().out.splitlines()
    assert "starts" in "".join(lines[:5])
    assert "failure: InvariantError" in lines[-2]
