"""That an answer of the real processes is exact, and that they say how they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

COUNTS = """
SELECT count(*) AS n, count(DISTINCT message_id) AS ids,
       (SELECT count(*) FROM trades_dead) AS dead,
       (SELECT count(*) FROM trades_history) AS lake,
       (SELECT count(*) FROM trades_tail) AS tail,
       (SELECT sum(cut_offset) FROM system.cut WHERE lane = 'LOW') AS cut
FROM trades
"""


def counts(stack: Stack) -> dict[str, Any]:
    """Each offset below the cut once, as a row or as a dead letter; nothing else."""
    (row,) = stack.ask(COUNTS)
    assert row["n"] == row["ids"] == row["lake"] + row["tail"], row
    assert row["n"] + row["dead"] == row["cut"], row
    return row


def wait_for_cut(stack: Stack, cut: int) -> dict[str, Any]:
    """Until answers reach so far; exact all the way."""

    def reached() -> dict[str, Any] | None:
        row = counts(stack)
        return row if row["cut"] == cut else None

    found: dict[str, Any] = wait_until(reached, lambda: f"not at {cut}: {stack.logs()}")
    return found


def wait_for_code(stack: Stack, name: str, code: str) -> None:
    """Until that process says so."""
    wait_until(
        lambda: code in stack.try_status(name)["codes"],
        lambda: f"{name} never says {code}: {stack.try_status(name)}; {stack.logs()}",
    )


def wait_for_no_code(stack: Stack, *names: str) -> None:
    """Until these processes are ready without any condition."""
    for name in names:
        wait_until(partial(_is_well, stack, name), partial(_condition, stack, name))


def _condition(stack: Stack, name: str) -> str:
    return f"{name} is not well: {stack.status(name)}; {stack.logs()}"


def _is_well(stack: Stack, name: str) -> bool:
    status = stack.status(name)
    return bool(status["ready"] and not status["codes"])
