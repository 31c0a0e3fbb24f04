"""What the log means, message by message: the rule as it is written, not in its vectorised form."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.definition import parse_definition
from contract.duplicates import CLOCK_START_US
from contract.table import LANES, Lane
from highwater.simulate.log import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFINITION = parse_definition(
    """
name = "events"
topic = "events"
message_id = "id"
event_time = "at"
columns = [
    {name = "id", type = "string", required = true},
    {name = "kind", type = "string", required = true},
    {name = "at", type = "timestamp", required = true},
]
lanes = [
    {lane = "HIGH", column = "kind", in = ["high"]},
    {lane = "LOW", column = "kind", in = ["low"]},
]

[duplicates]
window_s = 0.02
remembered_rows = 4
""",
    source="the simulation",
)
KINDS = {Lane.HIGH: "high", Lane.MEDIUM: "medium", Lane.LOW: "low"}

Offsets = tuple[int, ...]
Ranges = tuple[tuple[int, int], ...]  # [from, to)
Unseen = tuple[Ranges, ...]  # by lane: what one never reads of it


@dataclass(frozen=True)
class Event(Message):
    """A message that is a row, unless it is a duplicate. Every other message is a reject."""

    event_id: str = ""
    lane: Lane = Lane.MEDIUM


def an_event(event_id: str, lane: Lane, timestamp_us: int) -> Event:
    """The message of that event."""
    value = json.dumps({"id": event_id, "kind": KINDS[lane], "at": timestamp_us}).encode()
    return Event(value, timestamp_us, None, event_id, lane)


class _Track:
    """One partition as one reads it who never sees the offsets of some ranges."""

    def __init__(self, entries: Sequence[Message | None], unseen: Unseen) -> None:
        self.kept: tuple[list[int], ...] = tuple([] for _ in LANES)
        self.dropped: tuple[list[int], ...] = tuple([] for _ in LANES)
        self._entries = entries
        self._unseen = unseen
        self._at = 0
        self._clocks = [CLOCK_START_US] * len(LANES)
        self._remembered: tuple[list[tuple[str, int]], ...] = tuple([] for _ in LANES)

    def read_on(self) -> None:
        for offset in range(self._at, len(self._entries)):
            entry = self._entries[offset]
            if isinstance(entry, Event) and not any(
                lo <= offset < hi for lo, hi in self._unseen[entry.lane]
            ):
                self._take(offset, entry)
        self._at = len(self._entries)

    def _take(self, offset: int, event: Event) -> None:
        clock_us = max(self._clocks[event.lane], event.timestamp_us)
        remembered = self._remembered[event.lane][-DEFINITION.duplicate_rows :]
        window_us = DEFINITION.duplicate_window_us
        if any(i == event.event_id and clock_us - c <= window_us for i, c in remembered):
            self.dropped[event.lane].append(offset)
            return
        self._clocks[event.lane] = clock_us
        self._remembered[event.lane].append((event.event_id, clock_us))
        self.kept[event.lane].append(offset)


class Oracle:
    """All that was ever in one topic (of one id), whatever the broker still holds of it."""

    def __init__(self, entries: Mapping[int, list[Message | None]]) -> None:
        self._entries = entries
        self._tracks: dict[tuple[int, Unseen], _Track] = {}
        self._rejects: dict[int, tuple[int, list[int]]] = {}

    def entry(self, partition: int, offset: int) -> Message | None:
        """What stands there; None: a control record, or nothing."""
        entries = self._entries.get(partition, [])
        return entries[offset] if offset < len(entries) else None

    def event(self, partition: int, offset: int) -> Event:
        """The event that stands there."""
        entry = self.entry(partition, offset)
        assert isinstance(entry, Event)
        return entry

    def is_tombstone(self, partition: int, offset: int) -> bool:
        """Whether that message has no value."""
        entry = self.entry(partition, offset)
        return entry is not None and entry.value is None

    def kept(self, partition: int, unseen: Unseen, lane: Lane, lo: int, hi: int) -> list[int]:
        """Offsets of [lo, hi) that are rows of that lane."""
        return _between(self._track(partition, unseen).kept[lane], lo, hi)

    def dropped(self, partition: int, unseen: Unseen, lane: Lane, lo: int, hi: int) -> int:
        """How many messages of that lane in [lo, hi) are duplicates."""
        return len(_between(self._track(partition, unseen).dropped[lane], lo, hi))

    def rejects(self, partition: int, lo: int, hi: int) -> list[int]:
        """Offsets of [lo, hi) that are no rows."""
        entries = self._entries.get(partition, [])
        at, found = self._rejects.get(partition, (0, []))
        found += [
            o
            for o in range(at, len(entries))
            if entries[o] is not None and not isinstance(entries[o], Event)
        ]
        self._rejects[partition] = len(entries), found
        return _between(found, lo, hi)

    def _track(self, partition: int, unseen: Unseen) -> _Track:
        track = self._tracks.get((partition, unseen))
        if track is None:
            track = _Track(self._entries.get(partition, []), unseen)
            self._tracks[partition, unseen] = track
        track.read_on()
        return track


def _between(offsets: list[int], lo: int, hi: int) -> list[int]:
    return offsets[bisect_left(offsets, lo) : bisect_left(offsets, hi)]
