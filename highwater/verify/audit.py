"""The checks of one table in their order: markers, commits, files, then all offsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.decode import Decoder
from contract.errors import UnavailableError
from contract.table import DEAD_SCHEMA
from highwater.verify.chain import check_ahead, check_topic, read_chain
from highwater.verify.claims import Claims, rules_starts
from highwater.verify.commits import check_commits
from highwater.verify.findings import Finding, Ledger
from highwater.verify.inventory import FILE_CHECKS, check_files, check_snapshot
from highwater.verify.offsets import OFFSET_CHECKS, Offsets, Side
from highwater.verify.stored import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from contract.marker import Marker
    from contract.table import TableDefinition
    from highwater.verify.facts import LogFacts, RangeReport
    from highwater.verify.ports import LogPort, TablePort


@dataclass(slots=True)
class TableReport:
    """What `highwater verify` says about one table and its dead letters."""

    table: str
    ledger: Ledger = field(default_factory=Ledger)
    snapshot_id: int | None = None
    dead_snapshot_id: int | None = None
    marker: Marker | None = None
    ranges: list[RangeReport] = field(default_factory=list)


class Audit:
    """One run over one table. `progress` is told what is being looked at."""

    def __init__(
        self,
        definition: TableDefinition,
        open_table: Callable[[str], TablePort],
        log: LogPort,
        strip_rows: int,
        progress: Callable[[str], None],
    ) -> None:
        """`open_table`: pins the table of that name, without namespace, as it is when called."""
        self._definition = definition
        self._open_table = open_table
        self._log = log
        self._strip_rows = strip_rows
        self._progress = progress

    def run(self) -> TableReport:
        """Check everything.

        Raises:
            OperatorError: table or topic do not exist, or are of a newer format.
            UnavailableError: catalog, storage or broker do not answer, or maintenance was faster.
        """
        # The order matters while a sidecar runs: dead letters are committed before the rows whose
        # marker covers them, so they are pinned after these rows; and the log only grows.
        rows = self._open_table(self._definition.name)
        dead = self._open_table(self._definition.dead_name)
        log = self._log.facts()
        report = TableReport(rows.name)
        rows_side = self._side(rows, self._definition.stored_schema, report)
        dead_side = self._side(dead, DEAD_SCHEMA, report)
        report.snapshot_id = rows_side.facts.snapshot_id
        report.dead_snapshot_id = dead_side.facts.snapshot_id
        report.marker = rows_side.chain.marker
        self._check_offsets(rows_side, dead_side, log, report)
        if any(f.check in FILE_CHECKS for f in report.ledger.findings):
            self._require_pinned(rows, dead)
        return report

    def _side(self, port: TablePort, schema: pa.Schema, report: TableReport) -> Side:
        """One of the two tables, by itself."""
        ledger = report.ledger
        self._progress(f"{port.name}: metadata")
        facts = port.facts()
        chain = read_chain(facts, ledger)
        check_commits(facts, chain, ledger)
        if facts.manifests_problem:
            text = (
                f"the manifests of the snapshot cannot be read ({facts.manifests_problem}): "
                "restore them, or roll back"
            )
            ledger.add(
                Finding("snapshot.manifests", facts.table, text, snapshot_id=facts.snapshot_id)
            )
            ledger.skip_all(FILE_CHECKS, facts.table, "the manifests cannot be read")
            return Side(port, facts, chain, schema, ())
        check_snapshot(facts, ledger)
        found = []
        for index, entry in enumerate(facts.entries):
            self._progress(f"{port.name}: file {index + 1} of {len(facts.entries)}")
            found.append(port.inspect(index, entry))
        claimed = {c.commit.snapshot_id for c in chain.claims if not c.is_copy}
        check_files(facts, found, claimed, ledger)
        entries = facts.entries
        groups = [
            g for f, e in zip(found, entries, strict=True) if not e.is_deletes for g in f.groups
        ]
        groups.sort(key=lambda g: (entries[g.file].sequence, g.file, g.group))
        return Side(port, facts, chain, schema, tuple(groups))

    def _check_offsets(self, rows: Side, dead: Side, log: LogFacts, report: TableReport) -> None:
        ledger, marker = report.ledger, rows.chain.marker
        if marker is None:
            reason = "there is no marker that says which offsets the table holds"
            ledger.skip_all(OFFSET_CHECKS, rows.facts.table, reason)
            ledger.skip_all(OFFSET_CHECKS, dead.facts.table, reason)
            return
        reasons = []
        for side in (rows, dead):
            found = side.chain.marker
            if found is None:
                continue
            if check_topic(side.facts.table, found, log, ledger):
                check_ahead(side.facts.table, found, log, ledger)
            elif side is rows:
                reasons.append("the marker is of another topic, nothing is compared with this one")
        starts = rules_starts(rows.chain, self._definition.rules_digest)
        if starts is None:
            reasons.append(
                "the definition's lane or duplicate rules are not those of the marker, so neither "
                "lost rows nor duplicates can be told; check with the definition that ingested it"
            )
        setting = Setting(
            definition=self._definition,
            decoder=Decoder(self._definition),
            rows_table=rows.facts.table,
            dead_table=dead.facts.table,
            rows_claims=Claims(rows.facts, rows.chain, by_lane=starts is not None),
            dead_claims=Claims(dead.facts, dead.chain, by_lane=False),
            rules_hold=starts is not None,
            compacted=log.compacted,
        )
        same_topic = (marker.topic, marker.topic_id) == (log.topic, log.topic_id)
        offsets = Offsets(setting, rows, dead, log if same_topic else None, starts or {}, ledger)
        report.ranges = offsets.run(self._log, self._strip_rows, self._progress)
        offsets.conclude(reasons)

    def _require_pinned(self, *tables: TablePort) -> None:
        """Files of a snapshot that was expired meanwhile may be gone by right."""
        for table in tables:
            if table.is_expired():
                raise UnavailableError(
                    f"the snapshot of table {table.name} that was being checked has been expired "
                    "meanwhile, so its files may be gone by right: run it again"
                )
