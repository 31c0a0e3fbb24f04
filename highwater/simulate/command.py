"""`highwater simulate`: many seeds, or one of them with its trace."""

from __future__ import annotations

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from contract.settings import load, setting
from highwater.simulate.run import Result, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHUNK = 20
_SAY_S = 2.0


@dataclass(frozen=True)
class SimulateSettings:
    """Run sidecars and servers in virtual time against every fault, from seeds."""

    seeds: int = setting(200, doc="How many seeds", unit="seeds", minimum=1, maximum=10_000_000)
    first_seed: int = setting(0, doc="The first of them", minimum=0)
    jobs: int = setting(1, doc="Processes that share them", minimum=1, maximum=256)
    seed: int | None = setting(None, doc="Run this one only", minimum=0)
    trace: bool = setting(False, doc="Print what happens in --seed, line by line")


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Simulate; the last line of the output is one JSON object. 1 if an invariant was broken."""
    settings = load(SimulateSettings, "simulate", argv, environ)
    if settings.seed is not None:
        one = simulate(settings.seed, traced=settings.trace)
        for line in one.trace:
            print(line)
        result = one.result
        _complain(result)
    else:
        result = _all(settings)
    print(json.dumps(summary(result)))
    return 1 if result.failures else 0


def _complain(result: Result) -> None:
    for seed, failure in sorted(result.failures.items()):
        print(f"SIM_SEED={seed} {failure}", file=sys.stderr)
        print(f"  replay: highwater simulate --seed {seed} --trace", file=sys.stderr)


def summary(result: Result) -> dict[str, object]:
    """The result as JSON values."""
    return {
        "seeds": result.seeds,
        "steps": result.steps,
        "virtual_s": round(result.virtual_s, 1),
        "messages": result.messages,
        "commits": result.commits,
        "views": result.views,
        "faults": {f.value: n for f, n in sorted(result.faults.items(), key=_value)},
        "reached": {r.value: n for r, n in sorted(result.reached.items(), key=_value)},
        "trace_hash": f"{result.digest:016x}",
        "failures": sorted(result.failures),
    }


def _value(item: tuple[object, int]) -> str:
    return str(item[0])


def run_seeds(seeds: range) -> Result:
    """All of these, one after another."""
    total = Result()
    for seed in seeds:
        total.add(simulate(seed).result)
    return total


def _all(settings: SimulateSettings) -> Result:
    clock, total = SystemClock(), Result()
    said_s = clock.monotonic_s()
    for part in _parts(settings):
        total.add(part)
        _complain(part)
        if clock.monotonic_s() - said_s >= _SAY_S:
            said_s = clock.monotonic_s()
            failed = f", {len(total.failures)} failed" if total.failures else ""
            print(f"{total.seeds}/{settings.seeds} seeds{failed}", file=sys.stderr, flush=True)
    return total


def _parts(settings: SimulateSettings) -> Iterator[Result]:
    """In any order. Each process takes some seeds at a time."""
    end = settings.first_seed + settings.seeds
    chunks = [range(s, min(s + _CHUNK, end)) for s in range(settings.first_seed, end, _CHUNK)]
    if settings.jobs == 1:
        yield from map(run_seeds, chunks)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.jobs, mp_context=spawn) as pool:
        for done in as_completed([pool.submit(run_seeds, chunk) for chunk in chunks]):
            yield done.result()
