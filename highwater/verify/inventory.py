"""The files of one snapshot: what the manifests promise against what storage holds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highwater.verify.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from highwater.verify.facts import FileEntry, FileFacts, TableFacts
    from highwater.verify.findings import Ledger

FILE_CHECKS = ("files.present", "files.readable", "files.own", "files.rows", "files.unique")


def check_snapshot(facts: TableFacts, ledger: Ledger) -> None:
    """The entries among themselves, and against the snapshot's summary."""
    table = facts.table
    data = [e for e in facts.entries if not e.is_deletes]
    ledger.looked("snapshot.manifests", table, f"{len(facts.entries)} entries")
    ledger.looked("snapshot.deletes", table, f"{len(facts.entries)} entries")
    for entry in facts.entries:
        if entry.is_deletes:
            text = (
                "a delete file hides rows of the table, which no writer of this product makes: "
                "roll back to before it, or rewrite the files that it belongs to"
            )
            ledger.add(_of_file("snapshot.deletes", table, entry, text))
    promised = facts.commits[0].summary.get("total-records") if facts.commits else None
    rows = sum(e.rows for e in data)
    if promised is None:
        ledger.skip("snapshot.counts", table, "its summary has no total")
        return
    ledger.looked("snapshot.counts", table, f"{rows} rows in {len(data)} files")
    if promised != str(rows):
        text = (
            f"the summary of the snapshot counts {promised} rows, its manifests {rows}: a manifest "
            "was lost or put in; restore it, or roll back"
        )
        ledger.add(Finding("snapshot.counts", table, text, snapshot_id=facts.snapshot_id))


def check_files(
    facts: TableFacts, found: Sequence[FileFacts], claimed: Collection[int], ledger: Ledger
) -> None:
    """Each entry against its file, shape (entries,). `claimed`: snapshots of the sidecar."""
    table = facts.table
    pairs = [pair for pair in zip(facts.entries, found, strict=True) if not pair[0].is_deletes]
    for check in FILE_CHECKS:
        ledger.looked(check, table, f"{len(pairs)} files")
    for entry, file in pairs:
        _check_file(table, entry, file, ledger)
    _check_unique(table, pairs, ledger)
    _check_order(table, pairs, claimed, ledger)


def _check_file(table: str, entry: FileEntry, file: FileFacts, ledger: Ledger) -> None:
    if not entry.inside:
        text = (
            "the file lies outside of this table's location, so it is another table's: remove it "
            "from the table"
        )
        ledger.add(_of_file("files.own", table, entry, text))
    if file.size_bytes is None:
        text = (
            f"the file is missing, and with it {entry.rows} rows: restore it, or roll back to "
            "before its commit and ingest again"
        )
        ledger.add(_of_file("files.present", table, entry, text))
        return
    if file.size_bytes != entry.size_bytes:
        text = (
            f"the file has {file.size_bytes} bytes where {entry.size_bytes} were committed, so it "
            "was truncated or replaced: restore it"
        )
        ledger.add(_of_file("files.present", table, entry, text))
    if file.problem:
        ledger.add(_of_file(file.problem_check, table, entry, file.problem))
    if file.rows is not None and file.rows != entry.rows:
        text = (
            f"the file holds {file.rows} rows where its manifest entry promises {entry.rows}: it "
            "was replaced; restore it"
        )
        ledger.add(_of_file("files.rows", table, entry, text))


def _check_unique(table: str, pairs: Sequence[tuple[FileEntry, FileFacts]], ledger: Ledger) -> None:
    by_path: dict[str, FileEntry] = {}
    by_rows: dict[bytes, FileEntry] = {}
    for entry, file in pairs:
        if entry.path in by_path:
            text = (
                "the snapshot has this file twice, and all of its rows: delete one of its entries"
            )
            ledger.add(_of_file("files.unique", table, entry, text))
            continue
        by_path[entry.path] = entry
        if not file.rows or not file.digest:
            continue
        twin = by_rows.setdefault(file.digest, entry)
        if twin is not entry:
            text = (
                f"the file holds the rows of {twin.name} once more: remove one of the two from the "
                "table"
            )
            ledger.add(_of_file("files.unique", table, entry, text))


def _check_order(
    table: str,
    pairs: Sequence[tuple[FileEntry, FileFacts]],
    claimed: Collection[int],
    ledger: Ledger,
) -> None:
    """The writer keeps log order within a file; whoever compacts need not."""
    ours = [pair for pair in pairs if pair[0].added_by in claimed]
    ledger.looked("commits.order", table, f"{len(ours)} files")
    if len(ours) < len(pairs):
        others = len(pairs) - len(ours)
        reason = f"not for {others} files, whose commits are other writers' or no longer known"
        ledger.skip("commits.order", table, reason)
    for entry, file in ours:
        if file.disorder is None:
            continue
        partition, offset = file.disorder
        text = "the file's rows are not in log order, as the sidecar writes them: it was replaced"
        ledger.add(
            Finding(
                "commits.order",
                table,
                text,
                partition=partition,
                from_offset=offset,
                to_offset=offset + 1,
                file=entry.name,
                snapshot_id=entry.added_by,
            )
        )


def _of_file(check: str, table: str, entry: FileEntry, text: str) -> Finding:
    return Finding(check, table, text, file=entry.name, snapshot_id=entry.added_by)
