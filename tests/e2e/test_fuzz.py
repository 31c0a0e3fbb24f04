"""The fuzzer, in small: 300 calls against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_server_answers_wrong_calls_without_a_trace_and_goes_on() -> None:
    fuzz = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", "--calls", "300", "--seed", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )

    report = json.loads(fuzz.stdout.splitlines()[-1])
    assert report["figures"]["calls"] == 300
    assert report["figures"]["refused_calls"] > 100
    assert report["goals"]["texts_with_a_trace"]["met"]
    assert report["goals"]["slowest_call_s"]["met"]
