"""The marker: which part of the log a snapshot holds, written with the rows in one commit.

It stands as JSON in the snapshot's summary under `MARKER_KEY`, and once more in the table
properties for the day when a foreign tool has expired the snapshot that carried it. Offsets are
always the *next* offset to read. Rows of partition p and lane l are in the table iff their
`_offset` is below `next[p][l]` (and they are neither dead letters nor duplicates).

Format 2 is format 1 with the lanes of each gap. It is written only where a gap is not of all
lanes, so a table in which no lane was ever lost alone is read by older versions as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from contract.duplicates import Remembered, RememberedByLane
from contract.errors import OperatorError
from contract.levels import Level
from contract.table import LANES, Lane

_T = TypeVar("_T")

MARKER_KEY = "highwater.marker"
# Summary key of a snapshot that changes no row and carries the marker before it forward.
MAINTENANCE_KEY = "highwater.maintenance"
FORMAT = 2
_WITHOUT_LANES = 1  # of gaps

NextByLane = tuple[int, ...]  # index = Lane
NextOffsets = Mapping[int, NextByLane]  # partition -> next offset of each lane


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of offsets that is in neither table nor dead letters, and never will be.

    Where `lanes` are not all lanes, only rows of these are missing.
    """

    partition: int
    from_offset: int
    to_offset: int  # first offset after the gap
    reason: str
    noted_at_ms: int
    lanes: tuple[Lane, ...] = LANES

    @property
    def of_all_lanes(self) -> bool:
        """Whether nothing of the range was read."""
        return self.lanes == LANES


@dataclass(frozen=True, slots=True)
class Marker:
    """What one commit says about the log. Counts are those of this commit alone."""

    topic: str
    topic_id: str
    epoch: int  # of the writer; a writer with an older one must not commit any more
    commit_id: str
    next: NextOffsets
    remembered: Mapping[int, RememberedByLane]
    rows: int
    dead_letters: int
    tombstones: int  # of the dead letters, those without a value
    duplicates: int
    schema_id: int
    rules_digest: str  # TableDefinition.rules_digest that assigned the lanes
    gaps: tuple[Gap, ...] = ()
    level: Level = Level.NORMAL  # of the writer's breaker

    def to_json(self) -> str:
        """The stored form; keys are sorted, so equal markers are equal texts."""
        with_lanes = not all(g.of_all_lanes for g in self.gaps)
        stored = {
            "format": FORMAT if with_lanes else _WITHOUT_LANES,
            "topic": self.topic,
            "topic_id": self.topic_id,
            "epoch": self.epoch,
            "commit_id": self.commit_id,
            "next": {str(p): list(offsets) for p, offsets in self.next.items()},
            "remembered": {str(p): [list(r) for r in rs] for p, rs in self.remembered.items()},
            "rows": self.rows,
            "dead_letters": self.dead_letters,
            "tombstones": self.tombstones,
            "duplicates": self.duplicates,
            "schema_id": self.schema_id,
            "rules_digest": self.rules_digest,
            "gaps": [_stored_gap(g, with_lanes) for g in self.gaps],
        }
        if self.level is not Level.NORMAL:
            stored["level"] = self.level.name
        return json.dumps(stored, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Marker:
        """The marker in this text.

        Raises:
            OperatorError: it is of a newer format, or not a marker.
        """
        try:
            return _from_stored(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise OperatorError(
                f"the table's marker cannot be read ({type(error).__name__}: {error}): restore the "
                f"summary key {MARKER_KEY!r} of its newest commit"
            ) from error

    def next_offset(self, partition: int) -> int:
        """The offset of that partition below which every lane is in the table."""
        return min(self.next.get(partition, (0,)))

    def live_offset(self, partition: int) -> int:
        """The offset of that partition below which at least one lane is in the table."""
        return max(self.next.get(partition, (0,)))


def _from_stored(stored: Mapping[str, Any]) -> Marker:
    stored_format = _whole(stored["format"])
    if stored_format > FORMAT:
        raise OperatorError(
            f"the table's marker has format {stored_format}, this version knows {FORMAT}: "
            "install the newer Highwater that wrote it"
        )
    if stored_format < 1:
        raise ValueError(f"there is no format {stored_format}")
    return Marker(
        topic=_text(stored["topic"]),
        topic_id=_text(stored["topic_id"]),
        epoch=_whole(stored["epoch"]),
        commit_id=_text(stored["commit_id"]),
        next={int(p): _by_lane(map(_whole, offsets)) for p, offsets in stored["next"].items()},
        remembered={
            int(p): _by_lane(Remembered(_whole(start), _whole(clock_us)) for start, clock_us in rs)
            for p, rs in stored["remembered"].items()
        },
        rows=_whole(stored["rows"]),
        dead_letters=_whole(stored["dead_letters"]),
        tombstones=_whole(stored["tombstones"]),
        duplicates=_whole(stored["duplicates"]),
        schema_id=_whole(stored["schema_id"]),
        rules_digest=_text(stored["rules_digest"]),
        gaps=tuple(_gap(g, stored_format) for g in stored["gaps"]),
        level=Level[stored.get("level", Level.NORMAL.name)],
    )


def _stored_gap(gap: Gap, with_lanes: bool) -> list[Any]:
    stored = [gap.partition, gap.from_offset, gap.to_offset, gap.reason, gap.noted_at_ms]
    return [*stored, [int(lane) for lane in gap.lanes]] if with_lanes else stored


def _gap(stored: list[Any], stored_format: int) -> Gap:
    lanes = LANES
    if stored_format > _WITHOUT_LANES:
        *stored, numbers = stored
        lanes = tuple(sorted(Lane(_whole(number)) for number in numbers))
        if not lanes:
            raise ValueError("a gap of no lane")
    partition, start, end, reason, noted_at_ms = stored
    return Gap(
        _whole(partition), _whole(start), _whole(end), _text(reason), _whole(noted_at_ms), lanes
    )


def _by_lane(values: Iterable[_T]) -> tuple[_T, ...]:
    by_lane = tuple(values)
    if len(by_lane) != len(LANES):
        raise ValueError(f"{len(by_lane)} lanes where {len(LANES)} are expected")
    return by_lane


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} where a whole number is expected")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text is expected")
    return value


def is_at_or_after(later: NextOffsets, earlier: NextOffsets) -> bool:
    """Whether `later` has read at least as far as `earlier` in every partition and lane."""
    nothing = (0,) * len(LANES)
    return all(
        all(a >= b for a, b in zip(later.get(p, nothing), offsets, strict=True))
        for p, offsets in earlier.items()
    )


def find_marker(
    summaries: Iterable[Mapping[str, str]], properties: Mapping[str, str]
) -> Marker | None:
    """The marker that holds for a snapshot.

    `summaries`: of the snapshot and its ancestors, newest first, as far as they are still known.
    `properties`: of the table. The nearest summary wins; the property counts only if no known
    ancestor has a marker. None: the table has never had one.

    Raises:
        OperatorError: the marker is unreadable.
    """
    for summary in summaries:
        if text := summary.get(MARKER_KEY):
            return Marker.from_json(text)
    if text := properties.get(MARKER_KEY):
        return Marker.from_json(text)
    return None
