"""Child processes of the demo: real processes, no broker."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from contract.clock import SystemClock
from highwater.children import ChildDiedError, Children

if TYPE_CHECKING:
    from pathlib import Path

DIES = "print('first words'); print('last words'); raise SystemExit(3)"
OBEYS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print(time.monotonic_ns(), flush=True), sys.exit(0)))
print("up", flush=True)
time.sleep(60)
"""
IGNORES = "import signal, time; signal.signal(15, 1); print('up', flush=True); time.sleep(60)"


def children_in(log_dir: Path, stop_timeout_s: float) -> Children:
    return Children(log_dir, SystemClock(), stop_timeout_s, (sys.executable, "-c"))


def wait_for_log(children: Children, name: str) -> None:
    until_s = time.monotonic() + 30
    while b"up" not in children.log(name).read_bytes():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def death_of(children: Children) -> ChildDiedError:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        try:
            children.check()
        except ChildDiedError as error:
            return error
        time.sleep(0.02)
    raise AssertionError("nothing died")


def test_a_child_that_ends_by_itself_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with children_in(tmp_path / "logs", 5) as children:
        children.start("speaker", [DIES])
        died = death_of(children)

    assert str(died).startswith("speaker ended by itself, with code 3")
    assert died.last_lines.splitlines() == ["  first words", "  last words"]


def test_leaving_stops_the_last_one_first(tmp_path: Path) -> None:
    children = children_in(tmp_path, 20)
    with children:
        for name in ("first", "second"):
            children.start(name, [OBEYS])
            wait_for_log(children, name)
        children.check()

    stopped_at = {
        name: int(children.log(name).read_text().split()[1]) for name in ("first", "second")
    }
    assert stopped_at["second"] < stopped_at["first"]
    children.check()  # nothing runs, so nothing can have died


def test_a_child_that_does_not_stop_is_killed_in_bounded_time(tmp_path: Path) -> None:
    children = children_in(tmp_path, 0.2)
    children.start("deaf", [IGNORES])
    wait_for_log(children, "deaf")
    begun_s = time.monotonic()

    children.stop()

    assert time.monotonic() - begun_s < 10
