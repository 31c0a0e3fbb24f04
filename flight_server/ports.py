"""What the Flight SQL layer needs from the engine below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flight_server.options import DEFAULTS, SessionOptions
from flight_server.security.identity import EVERYBODY, Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import pyarrow as pa

    from flight_server.cut.request import CutRequest


@dataclass(frozen=True)
class Asker:
    """For whom a statement is planned, and what the options of its session say.

    `pin`: the cut that it is planned over, as `Engine.pin` gave it; None: that of now.
    """

    identity: Identity = EVERYBODY
    options: SessionOptions = DEFAULTS
    pin: Any | None = None


@dataclass(frozen=True)
class TableInfo:
    """One table that a client can name in SQL."""

    catalog: str
    schema: str
    name: str
    kind: str  # 'TABLE', 'VIEW' or 'SYSTEM TABLE'
    arrow_schema: pa.Schema  # as its rows are streamed: normalised types


class Watch(Protocol):
    """Who wants the rows of an execution, and may stop wanting them at any time."""

    def check(self) -> None:
        """Raise why the execution must end; asked at least every 50 ms while the engine works.

        On the thread that reads the rows.
        """
        ...

    def attach(self, stop: Callable[[], None]) -> None:
        """`stop` ends the execution at once, and frees what it holds, from any other thread."""
        ...

    def note_memory(self, peak_bytes: int, spilled_bytes: int) -> None:
        """What the execution has needed so far, as far as the engine says."""
        ...


class Unwatched:
    """A watch of somebody who wants all rows."""

    def check(self) -> None:
        """See `Watch`."""

    def attach(self, stop: Callable[[], None]) -> None:
        """See `Watch`."""

    def note_memory(self, peak_bytes: int, spilled_bytes: int) -> None:
        """See `Watch`."""


UNWATCHED = Unwatched()


class Plan(Protocol):
    """One statement, planned over one pinned cut."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch: no views, no dictionaries, no large_* types."""
        ...

    @property
    def receipt(self) -> str:
        """What the answer covers, as JSON text."""
        ...

    @property
    def pinned_bytes(self) -> int:
        """About how much memory the plan keeps from being freed while it can be run."""
        ...

    def stream(self, watch: Watch = UNWATCHED) -> Generator[pa.RecordBatch, None, None]:
        """Execute, lazily. A second call gives the same rows; close() frees what it holds."""
        ...


class Pinned(Protocol):
    """The views of all tables at one instant, or at an earlier cut; the engine's own value."""

    @property
    def pinned_bytes(self) -> int:
        """About how much memory it keeps from being freed."""
        ...


class Engine(Protocol):
    """SQL over the tables. All methods are called from many threads at once.

    They raise the classes of `contract.errors`; any other exception is answered as a bug.
    """

    def pin(
        self,
        request: CutRequest | None,
        sql: str | None,
        asker: Asker,
        given_up: Callable[[], bool],
    ) -> Pinned:
        """The cut that is wanted, of the tables that `sql` may name (None: all); None: of now.

        May wait as long as the request says, or until `given_up`.
        """
        ...

    def plan(self, sql: str, parameters: Mapping[str, pa.Scalar] | None, asker: Asker) -> Plan:
        """Plan `sql` over a cut pinned now; `parameters` has a key `$1` for placeholder `$1`.

        A table that the asker may not read does not exist, here and in the other methods.
        """
        ...

    def plan_rows(self, sql: str, rows: Sequence[Mapping[str, pa.Scalar]], asker: Asker) -> Plan:
        """Plan `sql` for each of `rows`, at least one, over one cut; the results in that order."""
        ...

    def parameters(self, sql: str, asker: Asker) -> pa.Schema:
        """The placeholders of `sql`: fields named `$1`, `$2`, … of concrete types, nullable."""
        ...

    def tables(self, identity: Identity) -> Sequence[TableInfo]:
        """Every table that `identity` may read, in any order."""
        ...
