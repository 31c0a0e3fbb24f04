"""Run benchmarks and keep what they found in docs/figures, where pages and the cost model read it.

    python -m benchmarks.record [--quick] [--note TEXT] [NAME...]

The last line of each run is written to docs/figures/NAME.json, with the date and the revision.
Then everything that is made of figures is made anew, as `python -m benchmarks.pages` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from benchmarks import pages
from benchmarks.pages import ROOT

RECORDED = ("decode", "ingest", "freshness", "tail", "joint", "protocol", "maintenance")


def main() -> int:
    """Run each benchmark in turn; the exit code of the first that fails, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.record", description="Keep what benchmarks find."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECORDED)}")
    parser.add_argument("--quick", action="store_true", help="small data; the file says so")
    parser.add_argument("--note", default="", help="what else was going on; pages say it")
    args = parser.parse_args()
    unknown = set(args.names) - set(RECORDED)
    if unknown:
        parser.error(f"there is no benchmark {min(unknown)} to record")
    for name in args.names or RECORDED:
        code, line = _run(name, ["--quick"] if args.quick else [])
        if code:
            return code
        target = pages.FIGURES / f"{name}.json"
        target.write_text(json.dumps(entry(line, args.note), indent=2) + "\n", encoding="utf-8")
    pages.make()
    return 0


def entry(line: str, note: str) -> dict[str, Any]:
    """What is kept of a run whose last line this is. Raises ValueError if it is none."""
    found = json.loads(line)
    if not isinstance(found, dict) or not {"benchmark", "figures", "machine"} <= set(found):
        raise ValueError("the last line of a benchmark is one JSON object with its figures")
    return {
        "benchmark": found["benchmark"],
        "recorded_on": datetime.now(UTC).date().isoformat(),
        "revision": _revision(),
        "note": note,
        **{key: value for key, value in found.items() if key != "benchmark"},
    }


def _run(name: str, flags: list[str]) -> tuple[int, str]:
    """The exit code, and the last line of what it printed; all of it is passed on."""
    argv = [sys.executable, "-m", f"benchmarks.{name}", *flags]
    last = ""
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    return process.returncode, last


def _revision() -> str:
    argv = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
