"""Row counts of the sidecar's commits, and what other writers did between them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.marker import MARKER_KEY
from highwater.verify.findings import Finding

if TYPE_CHECKING:
    from highwater.verify.chain import Chain
    from highwater.verify.facts import Commit, TableFacts
    from highwater.verify.findings import Ledger


def check_commits(facts: TableFacts, chain: Chain, ledger: Ledger) -> None:
    """Each commit adds what its marker counts; other writers change no number of rows."""
    counted = 0
    for claim in chain.claims:
        commit = claim.commit
        if commit.added is None or commit.removed is None:
            continue
        counted += 1
        promised = 0 if claim.is_copy else claim.after.rows
        if commit.added - commit.removed != promised:
            text = (
                f"its marker counts {promised} rows, its files add {commit.added} and remove "
                f"{commit.removed}: a file was left out or put in; compare with the topic"
            )
            ledger.add(Finding("commits.rows", facts.table, text, snapshot_id=commit.snapshot_id))
    ledger.looked("commits.rows", facts.table, f"{counted} commits")
    _check_foreign(facts, ledger)


def _check_foreign(facts: TableFacts, ledger: Ledger) -> None:
    """Other writers' commits in a row, as one: a compaction may remove first and add then."""
    foreign = 0
    run: list[Commit] = []
    for commit in [*reversed(facts.commits), None]:
        if commit is not None and not commit.summary.get(MARKER_KEY):
            foreign += 1
            run.append(commit)
            continue
        if run:
            _judge_foreign(facts.table, run, ledger)
        run = []
    what = f"{foreign} commits of other writers among {len(facts.commits)} known ones"
    ledger.looked("commits.foreign", facts.table, what)


def _judge_foreign(table: str, run: list[Commit], ledger: Ledger) -> None:
    named = ", ".join(f"{c.snapshot_id} ({c.operation})" for c in run[-3:])
    if any(c.added is None or c.removed is None for c in run):
        ledger.note(f"{table}: what other writers' commits changed is not known any more: {named}")
        return
    net = sum((c.added or 0) - (c.removed or 0) for c in run)
    if not net:
        ledger.note(f"{table}: other writers' commits that keep the number of rows: {named}")
        return
    what = f"adds {net} rows outside of any claim" if net > 0 else f"removes {-net} rows"
    text = (
        f"another writer {what} ({named}): nobody but the sidecar may; roll back to before it, or "
        "delete these rows again" if net > 0 else
        f"another writer {what} ({named}): nobody but the sidecar may; roll back to before it"
    )  # fmt: skip
    ledger.add(Finding("commits.foreign", table, text, snapshot_id=run[-1].snapshot_id))
