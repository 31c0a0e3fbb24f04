"""What the checks know of the world outside: pinned tables and a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from contract.log import RawBatch
    from highwater.verify.facts import FileEntry, FileFacts, LogFacts, RowGroup, TableFacts
    from highwater.verify.strips import Strip


class TablePort(Protocol):
    """One pinned table."""

    name: str

    def facts(self) -> TableFacts:
        """What metadata and manifests say."""
        ...

    def inspect(self, index: int, entry: FileEntry) -> FileFacts:
        """What the entry's file is."""
        ...

    def read(
        self,
        groups: Sequence[RowGroup],
        entries: Sequence[FileEntry],
        schema: pa.Schema,
        strip: Strip,
    ) -> pa.Table:
        """Rows of a strip."""
        ...

    def is_expired(self) -> bool:
        """Whether the pinned snapshot is no longer known."""
        ...


class LogPort(Protocol):
    """The topic."""

    def facts(self) -> LogFacts:
        """What it is now."""
        ...

    def messages(self, partition: int, start: int, end: int) -> tuple[int, RawBatch]:
        """The messages of a range, and where the log begins to have it."""
        ...
