"""The oracle: what the table must hold for any cut of the log. Pure; none of the product's code.

It reads each message with the standard library, assigns the lane and drops duplicates row by row
as the documents say, and keeps the rows of each partition and lane in log order with running
sums. So what any cut holds is found by bisection, in microseconds, however long the log is.

About 300 bytes of memory per message.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from highwater.audit.duplicate_rule import DuplicateRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LANE_NAMES = ("HIGH", "MEDIUM", "LOW")
Cut = dict[int, tuple[int, int, int]]  # partition -> first offset not in it, per lane

UNIT = 10**8  # prices and quantities are integers of 1e-8
_HIGH_FROM = 100_000 * UNIT * UNIT  # price times quantity, as in the definition of the trades
_LOW_BELOW = 10 * UNIT * UNIT
_TEST_SYMBOLS = {
    "ATEST", "CTEST", "NTEST", "ZAZZT", "ZBZZT", "ZCZZT", "ZJZZT", "ZVZZT", "ZWZZT", "ZXZZT",
}  # fmt: skip
_LATE_US = 60_000_000  # an event so much older than its message counts as late
_REQUIRED = (
    "message_id", "trade_id", "symbol", "exchange", "asset_class", "timestamp", "price",
    "quantity", "currency", "side", "trade_conditions", "ingestion_timestamp",
)  # fmt: skip
_BLOCK = 64  # rows between two running sums
_RECENT = 256
_SAMPLED = 64


class Totals(NamedTuple):
    """A number of rows, and sums over them."""

    rows: int = 0
    offsets: int = 0
    price: int = 0
    quantity: int = 0

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Totals) -> Totals:
        """What is left without the other, which is part of it."""
        return Totals(*(a - b for a, b in zip(self, other, strict=True)))


class Place(NamedTuple):
    """Where a kept row stands, and what it holds."""

    partition: int
    lane: int
    offset: int
    symbol: str
    price: int
    quantity: int


class Series:
    """Kept rows in log order: their offsets, prices, quantities, and running sums."""

    __slots__ = ("_prices", "_quantities", "_sums", "offsets")

    def __init__(self) -> None:
        self.offsets = array("q")
        self._prices = array("q")
        self._quantities = array("q")
        self._sums = [Totals()]

    def add(self, offset: int, price: int, quantity: int) -> None:
        """The next row; its offset is above all before it."""
        self.offsets.append(offset)
        self._prices.append(price)
        self._quantities.append(quantity)
        if len(self.offsets) % _BLOCK == 0:
            self._sums.append(self._sums[-1].plus(self._block(len(self.offsets) - _BLOCK)))

    def rows_below(self, offset: int) -> int:
        """How many rows lie below it."""
        return bisect_left(self.offsets, offset)

    def below(self, offset: int) -> Totals:
        """The totals of the rows below it."""
        rows = bisect_left(self.offsets, offset)
        start = rows - rows % _BLOCK
        known = self._sums[rows // _BLOCK]
        return known if start == rows else known.plus(self._block(start, rows))

    def ends(self, offset: int) -> tuple[int, int] | None:
        """First and last offset of the rows below it."""
        rows = bisect_left(self.offsets, offset)
        return (self.offsets[0], self.offsets[rows - 1]) if rows else None

    def holds(self, offset: int) -> bool:
        """Whether the row of that offset was kept here."""
        at = bisect_left(self.offsets, offset)
        return at < len(self.offsets) and self.offsets[at] == offset

    def _block(self, start: int, end: int | None = None) -> Totals:
        part = slice(start, end)
        offsets = self.offsets[part]
        return Totals(
            len(offsets), sum(offsets), sum(self._prices[part]), sum(self._quantities[part])
        )


class LogModel:
    """The log of the trades, as far as it was read. One thread at a time."""

    def __init__(self, window_us: int, remembered_rows: int) -> None:
        self._rule = (window_us, remembered_rows)
        self._rules: dict[tuple[int, int], DuplicateRule] = {}
        self._all: dict[tuple[int, int], Series] = {}
        self._of_symbol: dict[str, dict[tuple[int, int], Series]] = {}
        self._dead: dict[int, array[int]] = {}
        self._places: dict[str, Place | tuple[Place, ...]] = {}
        self.positions: dict[int, int] = {}  # next offset to read
        self.rows = self.duplicates = self.dead_letters = self.late = 0
        self.recent: deque[str] = deque(maxlen=_RECENT)  # newest ids
        self.sample: list[str] = []  # every 64th id
        self.repeated: dict[str, set[str]] = {}  # symbol -> ids that stand in more than one row

    def add(self, partition: int, offset: int, timestamp_us: int, value: bytes | None) -> None:
        """The next message of a partition."""
        self.positions[partition] = offset + 1
        message = parsed(value)
        if message is None:
            self._dead.setdefault(partition, array("q")).append(offset)
            self.dead_letters += 1
            return
        price, quantity = _units(message["price"]), _units(message["quantity"])
        key = (partition, lane_of(message["symbol"], price, quantity))
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = DuplicateRule(*self._rule)
        if not rule.keeps(message["message_id"], timestamp_us):
            self.duplicates += 1
            return
        self.late += timestamp_us - message["timestamp"] > _LATE_US
        self._keep(message["message_id"], Place(*key, offset, message["symbol"], price, quantity))

    def _keep(self, message_id: str, place: Place) -> None:
        key = (place.partition, place.lane)
        of_symbol = self._of_symbol.setdefault(place.symbol, {})
        for table in (self._all, of_symbol):
            series = table.get(key)
            if series is None:
                series = table[key] = Series()
            series.add(place.offset, place.price, place.quantity)
        known = self._places.get(message_id)
        if known is None:
            self._places[message_id] = place
        else:
            places = (known,) if isinstance(known, Place) else known
            self._places[message_id] = (*places, place)
            for symbol in {place.symbol, *(p.symbol for p in places)}:
                self.repeated.setdefault(symbol, set()).add(message_id)
        self.recent.append(message_id)
        if self.rows % _SAMPLED == 0:
            self.sample.append(message_id)
        self.rows += 1

    # -- what a cut holds

    def reaches(self, cut: Cut) -> bool:
        """Whether all messages below the cut were read."""
        return all(max(lanes) <= self.positions.get(p, 0) for p, lanes in cut.items())

    @property
    def symbols(self) -> list[str]:
        """All symbols seen."""
        return list(self._of_symbol)

    def totals(self, cut: Cut, symbol: str | None = None) -> Totals:
        """Of all rows, or of those of one symbol."""
        series = self._all if symbol is None else self._of_symbol.get(symbol, {})
        return summed(s.below(cut[p][lane]) for (p, lane), s in series.items() if p in cut)

    def rows_of(self, cut: Cut, symbol: str) -> int:
        """How many rows of the symbol there are."""
        series = self._of_symbol.get(symbol, {})
        return sum(s.rows_below(cut[p][lane]) for (p, lane), s in series.items() if p in cut)

    def by_partition(self, cut: Cut) -> dict[int, tuple[Totals, int, int]]:
        """Totals, first and last offset of the rows of each partition that has some."""
        found: dict[int, tuple[Totals, int, int]] = {}
        for (partition, lane), series in self._all.items():
            if partition not in cut or not (ends := series.ends(cut[partition][lane])):
                continue
            totals, first, last = found.get(partition, (Totals(), ends[0], ends[1]))
            totals = totals.plus(series.below(cut[partition][lane]))
            found[partition] = (totals, min(first, ends[0]), max(last, ends[1]))
        return found

    def dead(self, cut: Cut) -> Totals:
        """Number and offsets of the dead letters: those below the furthest lane's offset."""
        found = Totals()
        for partition, offsets in self._dead.items():
            below = offsets[: bisect_left(offsets, max(cut.get(partition, (0,))))]
            found = found.plus(Totals(len(below), sum(below)))
        return found

    def places(self, message_id: str) -> tuple[Place, ...]:
        """Every kept row of that id, in the order of the log as it was read."""
        found = self._places.get(message_id)
        if found is None:
            return ()
        return (found,) if isinstance(found, Place) else found

    def lane_at(self, partition: int, offset: int) -> int | None:
        """The lane of the kept row of that offset; None if there is none."""
        for lane in range(len(LANE_NAMES)):
            series = self._all.get((partition, lane))
            if series is not None and series.holds(offset):
                return lane
        return None

    def kept_offsets(self) -> set[tuple[int, int]]:
        """Partition and offset of every kept row."""
        return {(p, offset) for (p, _), series in self._all.items() for offset in series.offsets}

    def dead_offsets(self) -> set[tuple[int, int]]:
        """Partition and offset of every dead letter."""
        return {(p, offset) for p, offsets in self._dead.items() for offset in offsets}


def summed(parts: Iterable[Totals]) -> Totals:
    """All of them together."""
    total = Totals()
    for part in parts:
        total = total.plus(part)
    return total


def holds(cut: Cut, place: Place) -> bool:
    """Whether the row lies below the cut."""
    return place.partition in cut and place.offset < cut[place.partition][place.lane]


def lane_of(symbol: str, price: int, quantity: int) -> int:
    """Index in LANE_NAMES: test symbols last, others by their notional."""
    if symbol in _TEST_SYMBOLS:
        return 2
    notional = price * quantity
    if notional >= _HIGH_FROM:
        return 0
    return 2 if notional < _LOW_BELOW else 1


def parsed(value: bytes | None) -> Mapping[str, Any] | None:
    """The fields of a message of the synthetic feed; None if it is no row."""
    if value is None:
        return None
    try:
        message = json.loads(value)
    except ValueError:
        return None
    if not isinstance(message, dict) or any(message.get(name) is None for name in _REQUIRED):
        return None
    return message


def _units(text: str) -> int:
    return int(Decimal(text).scaleb(8))
