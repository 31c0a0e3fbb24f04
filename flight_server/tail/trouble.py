"""What goes wrong while following, in words, and when it is called a stall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import OperatorError
from contract.log import Trouble
from flight_server.tail.watermarks import NOTHING_YET, first_below, gaps_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.log import LogProblem
    from contract.marker import Marker, NextOffsets
    from contract.table import TableDefinition
    from flight_server.tail.index import TailIndex
    from flight_server.tail.keeper import LogHealth
    from flight_server.tail.watermarks import Gaps, LakeLike


class Troubles:
    """The log's problems since the last progress. `out_of_range`: partition -> why it stands.

    `replaced`: what the log said when it turned out to be another topic's; empty: it did not.
    """

    def __init__(self, stalled_after_s: float) -> None:
        self.out_of_range: dict[int, str] = {}
        self.replaced = ""
        self._stalled_after_s = stalled_after_s
        self._since_s: float | None = None
        self._seen_s = 0.0
        self._text = ""

    def note(self, problems: Sequence[LogProblem], now_s: float) -> None:
        """The log reported these."""
        for problem in problems:
            if problem.trouble is Trouble.REPLACED:
                self.replaced = problem.text
            elif problem.trouble is Trouble.OUT_OF_RANGE and problem.partition is not None:
                self.out_of_range.setdefault(problem.partition, problem.text)
            else:
                self._since_s = now_s if self._since_s is None else self._since_s
                self._seen_s, self._text = now_s, problem.text

    def progressed(self) -> None:
        """Messages came in."""
        self._since_s = None

    def clear(self) -> None:
        """Reading begins anew."""
        self.out_of_range.clear()
        self.replaced = ""
        self._since_s = None

    def why_stalled(self, now_s: float, health: LogHealth) -> str:
        """Why the follower can't go on; empty if it can, or if the trouble is young."""
        if self.out_of_range:
            return "; ".join(self.out_of_range.values())
        failing_s = health.failing_since_s
        if failing_s is not None and now_s - failing_s > self._stalled_after_s:
            return f"the broker does not answer: {health.failure}"
        if self._since_s is not None and health.answered_at_s > self._seen_s:
            self._since_s = None  # the broker has answered since
        if self._since_s is not None and now_s - self._since_s > self._stalled_after_s:
            return f"the log can't be read: {self._text}"
        return ""


def require_same(marker: Marker, topic: str, topic_id: str, definition: TableDefinition) -> None:
    """Raise OperatorError if the marker's offsets and lanes are not this topic's and server's."""
    if marker.topic != topic:
        raise OperatorError(
            f"the table was fed from topic {marker.topic!r}, this server reads {topic!r}: "
            "start it with the definition that names the table's topic"
        )
    if marker.topic_id != topic_id:
        raise OperatorError(recreated(topic, topic_id, marker.topic_id))
    if marker.rules_digest != definition.rules_digest:
        raise OperatorError(
            f"table {definition.name!r} was written with other rules for lanes and duplicates "
            "than this server has: start both with the same table definition"
        )


def why_apart(
    index: TailIndex, marker: Marker | None, topic_id: str, rules_digest: str, gaps: Gaps
) -> str:
    """Why this tail, cut by the marker, doesn't meet the lake; empty if it does.

    `gaps`: those of the marker that the tail was started with.
    """
    if marker is not None and marker.topic_id != topic_id:
        return "the table belongs to another topic than the tail"
    if marker is not None and marker.rules_digest != rules_digest:
        return "the table was written by another table definition than the tail"
    if gaps_of(marker) != gaps:
        return (
            "messages were deleted from the topic before they were ingested, and the tail may have "
            "taken later ones for repetitions of them: the log is read again"
        )
    if low := first_below(index.next, index.lo):
        return (
            f"the table went back to offset {low[1]} of partition {low[0]}, where the tail "
            f"begins at {low[2]}: the log is read again"
        )
    if any(index.dead_next.get(p, (0,))[0] < lo for p, lo in index.dead_lo.items()):
        return "the table of dead letters went back: the log is read again"
    return ""


def why_behind(
    answered: NextOffsets, cut: NextOffsets, ends: Mapping[int, int], lake: LakeLike
) -> str:
    """Why lake and tail, which reach up to `cut`, do not reach where earlier answers went."""
    for partition, offsets in answered.items():
        end = ends.get(partition, max(offsets))
        if max(cut.get(partition, NOTHING_YET)) >= end < max(offsets) and lake.marker:
            return truncated(lake.marker.topic, partition, max(offsets), end)
    return "the log is being read again up to where earlier answers went: try again"


def recreated(topic: str, found: str, expected: str) -> str:
    """What is wrong with a topic of another id, and what to do."""
    return (
        f"topic {topic!r} was deleted and made again: its id is {found}, the table was fed from "
        f"{expected}. Offsets of the two mean different messages: feed the topic into a new table"
    )


def truncated(topic: str, partition: int, position: int, end: int) -> str:
    """What is wrong with a log that ends before what was read of it, and what to do."""
    return (
        f"partition {partition} of topic {topic!r} ends at offset {end}, and {position} was read "
        "before: messages were lost, or the topic was made again. Restore the topic, or feed it "
        "into a new table"
    )


def deleted(topic: str, partition: int, position: int, start: int) -> str:
    """What a gap left by retention is, and what to do."""
    return (
        f"offsets {position} to {start} of partition {partition} were deleted from topic "
        f"{topic!r} before they were ingested: the ingest says how to go on without them"
    )
