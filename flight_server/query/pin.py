"""The views that a statement reads: taken now, once they reach far enough, or at an earlier cut."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from contract.errors import (
    CancelledError,
    HighwaterError,
    NotFoundError,
    RequestError,
    UnavailableError,
)
from flight_server.cut.kept import Present, Removal, behind, other_topic, why_lost
from flight_server.cut.request import CutRequest, Policy, Wanted
from flight_server.view import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from contract.clock import Clock
    from contract.table import TableDefinition
    from flight_server.cut.receipt import TableCut
    from flight_server.query.types import LakeView

# So far may the clocks of broker, producers and this server be apart where a broker time is given.
CLOCKS_APART_S = 60.0
WAITS_MAX = 32  # statements that wait for a cut at once
_LOOK_S = 0.002
_GONE = "the cut of the receipt is gone: "


@dataclass(frozen=True)
class Pin:
    """The view of every live table at one instant, or why a table has none.

    `asked`: for the receipt, which cut a client asked for; None: none. `lost`: why a table has no
    rows at that cut any more. `pinned_s`: since the epoch.
    """

    views: Mapping[str, LakeView | HighwaterError]
    pinned_s: float
    asked: Mapping[str, object] | None = None
    lost: HighwaterError | None = None

    @classmethod
    def take(
        cls,
        definitions: Sequence[TableDefinition],
        view_of: Callable[[str], LakeView],
        pinned_s: float,
    ) -> Pin:
        """Pin now; `view_of` takes the name of a live table."""
        views: dict[str, LakeView | HighwaterError] = {}
        for definition in definitions:
            try:
                views[definition.name] = view_of(definition.name)
            except HighwaterError as error:
                views[definition.name] = error
        return cls(views, pinned_s)

    def view(self, name: str) -> LakeView:
        """The view of that live table. Raises what its publisher said if it has none."""
        view = self.views[name]
        if isinstance(view, HighwaterError):
            raise view
        return view

    def all(self) -> Pin:
        """The pin, for a statement that depends on all tables. Raises `lost`."""
        if self.lost is not None:
            raise self.lost
        return self

    def available(self) -> Mapping[str, LakeView]:
        """The tables that have a view."""
        return {n: v for n, v in self.views.items() if not isinstance(v, HighwaterError)}

    @property
    def pinned_bytes(self) -> int:
        """About how much memory the views keep from being freed."""
        return sum(map(open_bytes, self.available().values()))


class Pinning:
    """Takes pins; from many threads."""

    def __init__(self, view_of: Callable[[str], LakeView], clock: Clock) -> None:
        self._view_of = view_of
        self._clock = clock
        self._waits = BoundedSemaphore(WAITS_MAX)

    def now(self, definitions: Sequence[TableDefinition]) -> Pin:
        """The views of now."""
        return Pin.take(definitions, self._view_of, self._clock.wall_s())

    def at(
        self,
        request: CutRequest,
        definitions: Sequence[TableDefinition],
        sql: str | None,
        given_up: Callable[[], bool],
    ) -> Pin:
        """The views that a request wants, of the tables that the statement may name.

        `sql` None: of all tables. Waits as the request says, and no longer once `given_up`.

        Raises:
            UnavailableError: the cut was not reached in time.
            CancelledError: the caller has gone.
        """
        known = {name for d in definitions for name in (d.name, d.topic)}
        if unknown := sorted(request.at_least.keys() - known):
            raise NotFoundError(f"at_least names {unknown[0][:64]!r}, which is no table or topic")
        named = [d for d in definitions if _may_name(sql, d)]
        goal = _Goal(request, named, self._clock.monotonic_s(), self._clock.wall_s())
        pin = self.now(definitions)
        if why := goal.why_unmet(pin):
            with self._waiting():
                pin, why = self._awaited(goal, definitions, request, given_up)
        if why and request.policy is not Policy.STALE:
            waited = "" if request.policy is Policy.FAIL else f" within {request.wait_s:g} s"
            raise UnavailableError(f"the cut asked for was not reached{waited}: {why}")
        if request.exactly is None:
            return replace(pin, asked={"form": "at_least", "reached": not why, "reason": why})
        return _at_cut(pin, request.exactly)

    def _awaited(
        self,
        goal: _Goal,
        definitions: Sequence[TableDefinition],
        request: CutRequest,
        given_up: Callable[[], bool],
    ) -> tuple[Pin, str]:
        """The first pin that meets it, or the last one and what it lacks."""
        wait_s = 0.0 if request.policy is Policy.FAIL else request.wait_s
        until_s = self._clock.monotonic_s() + wait_s
        while True:
            pin = self.now(definitions)
            why = goal.why_unmet(pin)
            if not why or self._clock.monotonic_s() >= until_s:
                return pin, why
            if given_up():
                raise CancelledError("the statement was cancelled while it waited for its cut")
            self._clock.sleep(_LOOK_S)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        if not self._waits.acquire(blocking=False):
            raise UnavailableError(
                f"{WAITS_MAX} statements wait for a cut already, which is the most: try again"
            )
        try:
            yield
        finally:
            self._waits.release()


class _Goal:
    """What a request wants of the tables that a statement may name."""

    def __init__(
        self,
        request: CutRequest,
        named: Sequence[TableDefinition],
        now_s: float,
        wall_s: float,
    ) -> None:
        self._request = request
        self._named = named
        # Whoever names a time has seen it: what it wants to read is in the log by now. Only of
        # times long ago earlier news of the log's ends are good enough.
        self._ends_since_s = now_s
        if request.at_least_us is not None:
            age_s = wall_s - request.at_least_us / 1e6
            self._ends_since_s -= age_s if age_s < 0 else max(0.0, age_s - CLOCKS_APART_S)

    def why_unmet(self, pin: Pin) -> str:
        """What the views lack, in words; empty: nothing."""
        for definition in self._named:
            view = pin.views[definition.name]
            if why := self._why_unmet(definition, view):
                return f"table {definition.name!r}: {why}"
        return ""

    def _why_unmet(self, definition: TableDefinition, view: LakeView | HighwaterError) -> str:
        wanted = self._wanted(definition)
        if not wanted and self._request.at_least_us is None:
            return ""
        if isinstance(view, HighwaterError):
            return str(view)
        for one in wanted:
            if one.topic_id is not None and one.topic_id != view.topic_id:
                raise NotFoundError(
                    f"the cut of the receipt is gone: {other_topic(definition.name)}"
                )
            if why := behind(view.cut, one.next):
                return why
        return "" if self._request.at_least_us is None else self._before_ends(view)

    def _wanted(self, definition: TableDefinition) -> list[Wanted]:
        """How far that table must reach."""
        request = self._request
        if request.exactly is not None:
            asked = request.exactly.get(definition.name)
            return [] if asked is None else [Wanted(asked.cut, asked.topic_id)]
        names = (definition.name, definition.topic)
        return [wanted for name, wanted in request.at_least.items() if name in names]

    def _before_ends(self, view: LakeView) -> str:
        for partition in view.hi:
            if view.ends_asked_s.get(partition, float("-inf")) < self._ends_since_s:
                return f"the end of partition {partition} at that time is not known yet"
        return behind(view.cut, {p: (view.ends[p],) * len(view.cut[p]) for p in view.hi})


def open_bytes(view: LakeView) -> int:
    """Message bytes of the part of the tail that is in memory, not in mapped files."""
    return sum(h.segment.byte_count for h in view.held if h.segment.number is None)


def _may_name(sql: str | None, definition: TableDefinition) -> bool:
    """Whether a statement may read the table: it can only do so where its text has the name."""
    text = None if sql is None else sql.lower()
    return text is None or definition.name in text or "system" in text


def _at_cut(pin: Pin, exactly: Mapping[str, TableCut]) -> Pin:
    """The same views at the cuts of a receipt; a table that is not in it, or lost, has none."""
    views: dict[str, LakeView | HighwaterError] = {}
    lost: HighwaterError | None = None
    for name, view in pin.views.items():
        asked = exactly.get(name)
        if asked is None:
            views[name] = RequestError(
                f"the receipt says nothing of table {name!r}: its statement did not read it"
            )
        elif isinstance(view, HighwaterError):
            views[name] = lost = view
        elif why := why_lost(name, asked, _present(view, asked)):
            views[name] = lost = NotFoundError(_GONE + why)
        else:
            views[name] = _view_at(view, asked)
    words = {"form": "exactly", "reached": True, "reason": ""}
    return replace(pin, views=views, asked=words, lost=lost)


def _view_at(view: LakeView, asked: TableCut) -> LakeView:
    at = replace(view, cut=asked.cut, next=asked.lake, newest_us=asked.newest_us, asked=asked)
    if view.cut == asked.cut:
        return at
    return replace(at, state=State.LAGGING, reason="an earlier cut was asked for")


def _present(view: LakeView, asked: TableCut) -> Present:
    lake, marker = view.lake, view.marker
    foreign = lake.foreign
    others = None if foreign is None or asked.others is None else foreign.below(asked.others.next)
    return Present(
        table_id=lake.table_uuid,
        topic_id=view.topic_id,
        rules=marker.rules_digest if marker is not None else "",
        gaps=frozenset(
            (g.partition, g.from_offset, g.to_offset, g.lanes)
            for g in (marker.gaps if marker is not None else ())
        ),
        others=others,
        removals=[
            Removal(s.snapshot_id, removed)
            for s in lake.ancestry
            if s.sequence_number > asked.sequence_number and (removed := _removed(s.summary)) > 0
        ],
    )


def _removed(summary: Mapping[str, str]) -> int:
    """How many more rows a commit took away than it added; 0 if it does not say."""
    counts = [summary.get(key, "0") for key in ("deleted-records", "added-records")]
    if not all(c.isdecimal() for c in counts):
        return 0
    return int(counts[0]) - int(counts[1])
