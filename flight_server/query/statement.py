"""One statement while it is planned: its pinned views, and which files each scan gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from contract.errors import HighwaterError
from flight_server.lake.prune import covers, needed
from flight_server.query.information import INFORMATION, INFORMATION_TABLES
from flight_server.query.session import PUBLIC
from flight_server.query.system import SYSTEM_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datafusion import DataFrame, SessionContext

    from flight_server.lake.prune import FiltersByScan
    from flight_server.lake.scan import LakeScan
    from flight_server.lake.snapshot import DataFiles
    from flight_server.ports import Asker
    from flight_server.query.information import Information
    from flight_server.query.live import LiveTable
    from flight_server.query.pin import Pin
    from flight_server.query.scope import Scope
    from flight_server.query.system import System
    from flight_server.query.types import LakeView


# So few files are scanned without asking which of them are needed: that would cost another
# planning, which takes as long as the engine's own look at so many files.
FEW_FILES = 8


class Shapes:
    """Every table without its rows: what names mean where no statement is planned.

    The engine asks then as well, from threads of its own, to fill `information_schema`.
    """

    def __init__(self, ctx: SessionContext, live: Mapping[str, LiveTable]) -> None:
        self._ctx = ctx
        self._live = live

    def names(self, schema: str) -> Sequence[str]:
        """See `Tables`."""
        if schema == INFORMATION:
            return ()  # the engine's own frames name these tables themselves
        return tuple(self._live) if schema == PUBLIC else tuple(SYSTEM_TABLES)

    def frame(self, schema: str, name: str) -> DataFrame:
        """See `Tables`."""
        columns = self._live[name].schema(name) if schema == PUBLIC else SYSTEM_TABLES[name]
        return self._ctx.read_batches([pa.RecordBatch.from_pylist([], schema=columns)])


@dataclass(frozen=True)
class Reader:
    """Whose statement it is, and what that one can name."""

    asker: Asker
    scope: Scope


@dataclass(frozen=True)
class Sources:
    """What answers for the tables that are not live ones."""

    system: System
    information: Information


class Statement:
    """What names mean while one text is planned; `flight_server.query.session.Tables`.

    Used by one thread. `scans` and the tables read are known when planning is done.
    """

    def __init__(
        self,
        reader: Reader,
        sources: Sources,
        pin: Pin,
        filters: FiltersByScan | None = None,
    ) -> None:
        """`filters`: each scan gets the files that these need, all of them where a name is missing
        or has None. Without `filters`: no files, or all where they are few.
        """
        self.reader = reader
        self._sources = sources
        self._pin = pin
        self._filters = filters
        self._used: dict[str, pa.BooleanArray] = {}  # scan name -> which of its files it got
        self._chosen: dict[str, DataFiles] = {}  # and these files
        self._reads_all = False
        self.reads_system = False  # tables that are not live ones
        self.refusal: HighwaterError | None = None  # why a table that was named has no rows
        self._read: dict[str, LakeView] = {}
        self.scans: dict[str, DataFiles] = {}  # scan name -> all files of its snapshot

    def names(self, schema: str) -> Sequence[str]:
        """See `Tables`."""
        if schema == INFORMATION:
            return INFORMATION_TABLES
        return tuple(self.reader.scope.live) if schema == PUBLIC else self.reader.scope.system

    def frame(self, schema: str, name: str) -> DataFrame:
        """See `Tables`."""
        if schema == INFORMATION:
            self.reads_system = True
            return self._sources.information.frame(name, self.reader.scope)
        try:
            if schema != PUBLIC:
                self._reads_all = self.reads_system = True
                return self._sources.system.frame(name, self._pin.all(), self.reader.asker.identity)
            table = self.reader.scope.live[name]
            view = self._pin.view(table.definition.name)
            self._read[table.definition.name] = view
            return table.frame(name, view, self._scan)
        except HighwaterError as error:
            self.refusal = error  # the engine passes on its text, not its class
            raise

    def views_read(self) -> Mapping[str, LakeView]:
        """The views that the answer depends on, by live table."""
        return self._pin.available() if self._reads_all else self._read

    def files(self) -> Sequence[DataFiles]:
        """The files that the plan scans, scan by scan."""
        return [files for files in self._chosen.values() if len(files)]

    def covers(self, filters: FiltersByScan) -> bool:
        """Whether the scans have all files that a plan with these filters needs."""
        return all(
            covers(self.scans[name], used, filters.get(name)) for name, used in self._used.items()
        )

    @property
    def lacks_files(self) -> bool:
        """Whether a scan was planned without the files that it may need."""
        return self._filters is None and any(len(f) > FEW_FILES for f in self.scans.values())

    def _scan(self, scan: LakeScan, name: str, files: DataFiles) -> DataFrame:
        self.scans[name] = files
        if self._filters is not None:
            self._used[name] = needed(files, self._filters.get(name))
            files = files.take(self._used[name])
        elif len(files) > FEW_FILES:
            return scan.probe(name)
        self._chosen[name] = files
        return scan.frame(name, files)
