"""A receipt as it comes back from a client: read strictly, because anybody can write one.

What it names is a cut, and what must be known of the table at that time to tell whether the same
rows can be given again. `docs/receipt.md` describes every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import RequestError
from contract.marker import is_at_or_after
from contract.table import LANES, Lane

if TYPE_CHECKING:
    from contract.marker import NextByLane, NextOffsets

# Partition, first offset, first offset after it, lanes that miss their rows.
GapRange = tuple[int, int, int, tuple[Lane, ...]]

RECEIPT_BYTES_MAX = 1 << 20
PARTITIONS_MAX = 10_000
_OFFSET_MAX = 2**63 - 1
_PARTITION_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Others:
    """The rows of a snapshot that no log has, as another tool appended them.

    `next`: per partition of theirs, the first offset behind them. `rows` and `digest`: how many
    they are, and a digest of all their places.
    """

    next: Mapping[int, int]
    rows: int
    digest: str


NO_OTHERS = Others({}, 0, "")


@dataclass(frozen=True, slots=True)
class TableCut:
    """One table's part of a receipt.

    `cut`: first offsets that are not in the answer. `lake`: first offsets that were not in the
    lake then, at or below `cut`. `gaps`: what retention had taken by then. `others` None: they
    were too many to be told apart. `sequence_number`: of the snapshot, 0 if it had none.
    """

    table_id: str
    topic_id: str
    rules: str
    cut: NextOffsets
    lake: NextOffsets
    gaps: frozenset[GapRange]
    others: Others | None
    sequence_number: int
    newest_us: int | None


def read_tables(receipt: object) -> Mapping[str, TableCut]:
    """The tables of a receipt, parsed from JSON, by name.

    Raises:
        RequestError: it is none, or one of an older version that lacks what is needed.
    """
    if not isinstance(receipt, Mapping) or not isinstance(receipt.get("tables"), Mapping):
        raise RequestError("this is no receipt: it has no `tables`")
    if receipt.get("format") != 1:
        raise RequestError("the receipt is of another format than 1, which this server knows")
    return {name: _table(name, part) for name, part in receipt["tables"].items()}


def read_offsets(by_partition: object, what: str) -> Mapping[int, int]:
    """`{partition: offset}` with texts or whole numbers as keys. Raises RequestError."""
    if not isinstance(by_partition, Mapping) or len(by_partition) > PARTITIONS_MAX:
        raise RequestError(f"{what} must be an object of partitions, at most {PARTITIONS_MAX}")
    return {_partition(p, what): _whole(o, what) for p, o in by_partition.items()}


def _table(name: str, part: object) -> TableCut:
    what = f"the receipt's part of table {name[:64]!r}"
    if not isinstance(part, Mapping):
        raise RequestError(f"{what} is no object")
    try:
        made = TableCut(
            table_id=_text(part["table_id"], what),
            topic_id=_text(part["topic_id"], what),
            rules=_text(part["rules"], what),
            cut=_lanes(part["cut"], what),
            lake=_lanes(part["lake"], what),
            gaps=frozenset(_gap(gap, what) for gap in part["gaps"]),
            others=_others(part["others"], what),
            sequence_number=_whole(part["snapshot_sequence"], what),
            newest_us=_optional(part["newest_timestamp_us"], what),
        )
    except KeyError as error:
        raise RequestError(f"{what} has no {error}: it is of an older server, or cut") from error
    except (TypeError, ValueError) as error:
        raise RequestError(f"{what} cannot be read") from error
    if made.lake.keys() != made.cut.keys() or not is_at_or_after(made.cut, made.lake):
        raise RequestError(f"{what} contradicts itself: its lake lies beyond its cut")
    return made


def _lanes(offsets: object, what: str) -> dict[int, NextByLane]:
    if not isinstance(offsets, Mapping) or len(offsets) > PARTITIONS_MAX:
        raise RequestError(f"{what} must have an object of at most {PARTITIONS_MAX} partitions")
    return {
        _partition(p, what): tuple(_whole(by_lane[lane.name], what) for lane in LANES)
        for p, by_lane in offsets.items()
    }


def _others(others: Any, what: str) -> Others | None:
    if others is None:
        return None
    following = {int(p): _whole(o, what) for p, o in others["next"].items()}
    if len(following) > PARTITIONS_MAX or any(abs(p) > _PARTITION_MAX for p in following):
        raise RequestError(f"{what} has partitions of others that no table can have")
    return Others(following, _whole(others["rows"], what), _text(others["digest"], what))


def _gap(gap: Any, what: str) -> GapRange:
    partition, start, end, lanes = gap
    named = tuple(sorted(Lane[lane] for lane in lanes))
    return _whole(partition, what), _whole(start, what), _whole(end, what), named


def _partition(text: object, what: str) -> int:
    try:
        partition = int(text) if isinstance(text, (str, int)) else -1
    except ValueError:
        partition = -1
    if not 0 <= partition <= _PARTITION_MAX:
        raise RequestError(f"{what} has a partition that is no whole number")
    return partition


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _OFFSET_MAX:
        raise RequestError(f"{what} has an offset that is no whole number of 64 bits")
    return value


def _optional(value: object, what: str) -> int | None:
    return None if value is None else _whole(value, what)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > 128:
        raise RequestError(f"{what} has something else where a short text is expected")
    return value
