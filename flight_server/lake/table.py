"""One Iceberg table, watched: its current snapshot as a value."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from contract.ancestry import marker_of
from contract.errors import OperatorError, UnsupportedError
from contract.table import OFFSET, PARTITION, PROVENANCE
from flight_server.lake.evolution import (
    arrow_schema_of,
    check_readable,
    file_columns,
    has_columns,
)
from flight_server.lake.foreign import ForeignReader
from flight_server.lake.manifests import CACHE_BYTES_MAX, ManifestReader
from flight_server.lake.pointer import TableMissingError, pointer_to, translated_errors
from flight_server.lake.snapshot import DataFiles, LakeSnapshot, SnapshotInfo

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

    from flight_server.lake.pointer import Loaded

_log = logging.getLogger(__name__)

# How much of the ancestry a snapshot shows to people; the marker is looked for in all of it.
ANCESTRY_SHOWN_MAX = 1_000


class LakeTable:
    """Follows the table `identifier` ("namespace.name") of a catalog; for one thread.

    After an error the snapshot that was returned last stays as true as it was; calling again is
    the retry.
    """

    def __init__(
        self, catalog: Catalog, identifier: str, manifest_cache_bytes_max: int = CACHE_BYTES_MAX
    ) -> None:
        self._identifier = identifier
        self._pointer = pointer_to(catalog, identifier)
        self._manifests = ManifestReader(manifest_cache_bytes_max)
        self._foreign = ForeignReader()
        self._snapshot: LakeSnapshot | None = None

    def refresh(self) -> LakeSnapshot:
        """The table's current snapshot; the same object as before if the table did not change.

        Raises:
            UnavailableError: there is no table yet, or catalog or storage did not answer.
            OperatorError: the table was dropped or replaced, its metadata is broken, or its
                marker is lost or contradictory.
        """
        known = self._snapshot
        try:
            loaded = self._pointer.poll(known.metadata_location if known else None)
        except TableMissingError as error:
            if known is None:
                raise
            raise OperatorError(
                f"table {self._identifier!r} was dropped from the catalog: restore it, or restart "
                "the server to begin with a new one"
            ) from error
        if loaded is None and known is not None:
            return known
        assert loaded is not None, "a pointer answers None only for a location that it was given"
        if known is not None and str(loaded.metadata.table_uuid) != known.table_uuid:
            raise OperatorError(
                f"table {self._identifier!r} was dropped and created again: restart the server to "
                "begin with the new one"
            )
        with translated_errors(self._identifier):
            self._snapshot = self._read(loaded)
        return self._snapshot

    def _read(self, loaded: Loaded) -> LakeSnapshot:
        metadata = loaded.metadata
        ancestry = _ancestry(metadata)
        inside = {s.snapshot_id for s in ancestry}
        marker = marker_of(
            ancestry,
            [_info(s) for s in metadata.snapshots if s.snapshot_id not in inside],
            metadata.properties,
            stores_offsets=has_columns(metadata, (PARTITION, OFFSET)),
        )
        files, refused = self._files(loaded)
        if refused is not None:
            _log.error("table %s cannot be read: %s", self._identifier, refused)
        head = ancestry[0] if ancestry else None
        foreign = None
        if has_columns(metadata, PROVENANCE):
            known = marker.next.keys() if marker is not None else ()
            foreign = self._foreign.rows(loaded.io, files, known)
        return LakeSnapshot(
            table=self._identifier.rpartition(".")[2],
            table_uuid=str(metadata.table_uuid),
            metadata_location=loaded.location,
            snapshot_id=head.snapshot_id if head else None,
            parent_id=head.parent_id if head else None,
            schema_id=metadata.current_schema_id,
            committed_at_ms=head.committed_at_ms if head else None,
            arrow_schema=arrow_schema_of(metadata),
            files=files,
            marker=marker,
            refused=refused,
            ancestry=ancestry[:ANCESTRY_SHOWN_MAX],
            foreign=foreign,
        )

    def _files(self, loaded: Loaded) -> tuple[DataFiles, str | None]:
        """The head's files, or none and the reason why they cannot be read exactly."""
        head = loaded.metadata.current_snapshot()
        try:
            check_readable(loaded.metadata)
            if head is None:
                return DataFiles.empty(), None
            columns = file_columns(loaded.metadata)
            return self._manifests.files(loaded.io, head.manifest_list, columns), None
        except UnsupportedError as error:
            return DataFiles.empty(), f"table {self._identifier!r} cannot be read: {error}"


def _ancestry(metadata: TableMetadata) -> tuple[SnapshotInfo, ...]:
    """The current snapshot and its ancestors as far as the metadata knows them, newest first."""
    by_id = {s.snapshot_id: s for s in metadata.snapshots}
    chain = []
    following = metadata.current_snapshot()
    while following is not None:
        chain.append(_info(following))
        parent_id = following.parent_snapshot_id
        # Taken out, so that a circle in broken metadata ends the walk.
        following = by_id.pop(parent_id, None) if parent_id is not None else None
    return tuple(chain)


def _info(snapshot: Snapshot) -> SnapshotInfo:
    summary = snapshot.summary
    return SnapshotInfo(
        snapshot_id=snapshot.snapshot_id,
        parent_id=snapshot.parent_snapshot_id,
        sequence_number=snapshot.sequence_number or 0,
        committed_at_ms=snapshot.timestamp_ms,
        operation=summary.operation.value if summary else "",
        summary=dict(summary.additional_properties) if summary else {},
    )
