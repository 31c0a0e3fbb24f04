"""The common frame of all benchmarks: arguments, rounds, figures, goals, one JSON line at the end.

    def body(args: argparse.Namespace, report: Report) -> None:
        samples = interleaved({"ours": ours, "bare": bare}, rounds=5, check=same_rows)
        report.figure("ours_ms", samples["ours"].median_s * 1000)
        report.at_most("ours_over_bare_ratio", samples.ratio("ours", "bare"), 1.1)

    if __name__ == "__main__":
        sys.exit(main("example", "what it asks", body))

The last line of the output is one JSON object: `benchmark`, `quick`, `figures` (name with unit ->
number), `goals` (name -> `limit`, `value`, `met`) and `machine`. A goal that is missed is printed
and changes no exit code: a benchmark fails only if it could not measure, or if results differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

_VERSIONS = ("pyarrow", "datafusion", "pyiceberg", "confluent-kafka")
_FIGURE_DIGITS = 6  # significant ones in the output

Body = Callable[[argparse.Namespace, "Report"], None]


@dataclass(frozen=True)
class Samples:
    """The times of one contender, one per round."""

    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.times_s)

    @property
    def spread(self) -> float:
        """Between the quartiles, as a share of the median; 0.1 is a quiet machine."""
        if len(self.times_s) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.times_s, n=4, method="inclusive")
        return (high - low) / self.median_s


class Rounds(dict[str, Samples]):
    """Samples by contender."""

    def ratio(self, one: str, other: str) -> float:
        """Median of `one` / `other` over the rounds: both of a pair saw the same machine."""
        pairs = zip(self[one].times_s, self[other].times_s, strict=True)
        return statistics.median(a / b for a, b in pairs)


def interleaved(
    contenders: Mapping[str, Callable[[], _T]],
    rounds: int,
    check: Callable[[dict[str, _T]], None],
    timer: Callable[[], float] = time.perf_counter,
) -> Rounds:
    """Time the contenders in turns, so that a slow moment of the machine meets all of them.

    First each runs once, untimed, and `check` gets the results by name: it raises if they are not
    equal, and then no time counts. `timer`: `time.process_time` for CPU seconds of all threads.
    """
    check({name: run() for name, run in contenders.items()})
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = timer()
            contenders[name]()
            times[name].append(timer() - start)
    return Rounds({name: Samples(tuple(taken)) for name, taken in times.items()})


def require_equal(what: str, expected: object, found: object) -> None:
    """End the benchmark if two results differ."""
    if expected != found:
        raise SystemExit(f"{what} differ: no time counts\n{expected!r:.500}\n{found!r:.500}")


class Report:
    """What one run found out; prints each figure at once, and all of it at the end."""

    def __init__(self, benchmark: str, quick: bool) -> None:
        self._benchmark = benchmark
        self._quick = quick
        self._figures: dict[str, float] = {}
        self._goals: dict[str, dict[str, float | bool]] = {}

    def figure(self, name: str, value: float) -> float:
        """Note a number; its name ends with the unit."""
        if name in self._figures:
            raise ValueError(f"figure {name!r} is there already")
        self._figures[name] = _short(value)
        print(f"{name:<48} {value:>16,.3f}", flush=True)
        return value

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Note a figure that shall not be above `limit`."""
        self._goal(name, value, limit, met=value <= limit, sign="<=")

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Note a figure that shall not be below `limit`."""
        self._goal(name, value, limit, met=value >= limit, sign=">=")

    def samples(self, name: str, samples: Samples, items: int, unit: str) -> float:
        """Note items per second and the spread over the rounds; returns items per second."""
        self.figure(f"{name}_spread_pct", samples.spread * 100)
        return self.figure(f"{name}_{unit}_per_s", items / samples.median_s)

    def as_json(self) -> str:
        """The report as one line."""
        return json.dumps(
            {
                "benchmark": self._benchmark,
                "quick": self._quick,
                "figures": self._figures,
                "goals": self._goals,
                "machine": machine(),
            }
        )

    def _goal(self, name: str, value: float, limit: float, *, met: bool, sign: str) -> None:
        if name not in self._figures:
            self.figure(name, value)
        self._goals[name] = {"limit": limit, "value": _short(value), "met": met}
        verdict = "met" if met else "MISSED"
        print(f"goal {verdict}: {name} = {value:,.3f}, wanted {sign} {limit:,g}", flush=True)


def main(
    benchmark: str,
    description: str,
    body: Body,
    argv: list[str] | None = None,
    options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Run one benchmark; 0 unless `body` raises. `options` adds arguments of its own."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="smaller data, at most 45 s")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    if options is not None:
        options(parser)
    args = parser.parse_args(argv)
    report = Report(benchmark, args.quick)
    body(args, report)
    sys.stderr.flush()
    print(report.as_json(), flush=True)
    return 0


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _VERSIONS},
    }


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of a process, this one if None; Linux."""
    return _status_bytes(pid, "VmRSS")


def anonymous_rss_bytes(pid: int | None = None) -> int:
    """The part of it that is not the page cache's: what a mapped file holds is not counted."""
    return _status_bytes(pid, "RssAnon")


def _status_bytes(pid: int | None, key: str) -> int:
    status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _short(value: float) -> float:
    return float(f"{value:.{_FIGURE_DIGITS}g}")


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
