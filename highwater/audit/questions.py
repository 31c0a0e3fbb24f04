"""The questions that readers ask, each with what its answer must be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from highwater.audit.lineage import FOREIGN_PARTITION, FOREIGN_SYMBOL, ForeignRow
from highwater.audit.log_model import LANE_NAMES, Cut, LogModel, Totals, holds, summed
from highwater.audit.verdict import Rows, Value, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random


@dataclass(frozen=True, slots=True)
class Covered:
    """What an answer covers: the log up to `cut`, of it in the lake what lies below `lake`, and
    the foreign rows of its snapshot.
    """

    cut: Cut
    lake: Cut
    foreign: tuple[ForeignRow, ...] = ()

    @property
    def foreign_totals(self) -> Totals:
        """Of the foreign rows."""
        return summed(Totals(1, r.offset, r.price, r.quantity) for r in self.foreign)


@dataclass(frozen=True, slots=True)
class Question:
    """One statement; `counts` as in `verdict.compare`."""

    kind: str
    sql: str
    expect: Callable[[LogModel, Covered], Rows]
    counts: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Topics:
    """What can be asked for at the moment."""

    symbols: Sequence[str]
    recent: Sequence[str]  # message ids
    sample: Sequence[str]


def any_question(rng: Random, topics: Topics) -> Question:
    """A question at random: cheap ones more often."""
    (make,) = rng.choices(_MAKERS, _WEIGHTS)
    return make(rng, topics)


def _count(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        return [(log.totals(covered.cut).rows + len(covered.foreign),)]

    return Question("count", "select count(*) from trades", expect)


def _sums(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        return [_aggregates(log.totals(covered.cut).plus(covered.foreign_totals))]

    return Question("sum", "select count(*), sum(price), sum(quantity) from trades", expect)


def _symbol_sums(rng: Random, topics: Topics) -> Question:
    symbol = _symbol(rng, topics)

    def expect(log: LogModel, covered: Covered) -> Rows:
        return [_aggregates(_of_symbol(log, covered.cut, covered, symbol))]

    where = f"where symbol = '{symbol}'"
    sql = f"select count(*), sum(price), sum(quantity) from trades {where}"
    return Question("sum of a symbol", sql, expect)


def _point(rng: Random, topics: Topics) -> Question:
    ids = topics.recent if rng.random() < 0.5 else topics.sample
    message_id = rng.choice(ids) if ids else "none"

    def expect(log: LogModel, covered: Covered) -> Rows:
        places = [p for p in log.places(message_id) if holds(covered.cut, p)]
        return in_order([(p.symbol, p.price, p.quantity) for p in places])

    sql = f"select symbol, price, quantity from trades where message_id = '{message_id}'"
    return Question("point", sql, expect, counts=())


def _by_symbol(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        symbols = [*log.symbols, FOREIGN_SYMBOL]
        groups = ((s, _of_symbol(log, covered.cut, covered, s)) for s in symbols)
        return in_order([(s, *_aggregates(t)) for s, t in groups if t.rows])

    columns = "symbol, count(*), sum(price), sum(quantity)"
    return Question("group by", f"select {columns} from trades group by symbol", expect, (1,))


def _parts(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        lake, all_ = log.totals(covered.lake).rows, log.totals(covered.cut).rows
        foreign = len(covered.foreign)
        cut = sum(low for _, _, low in covered.cut.values())
        return [(all_ + foreign, lake + foreign, all_ - lake, cut)]

    sql = (
        "select (select count(*) from trades) as rows,"
        " (select count(*) from trades_history) as lake,"
        " (select count(*) from trades_tail) as tail,"
        " (select sum(cut_offset) from system.cut where lane = 'LOW') as cut"
    )
    return Question("parts", sql, expect)


def _tail(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        return [_aggregates(log.totals(covered.cut).minus(log.totals(covered.lake)))]

    sql = "select count(*), sum(price), sum(quantity) from trades_tail"
    return Question("tail", sql, expect)


def _system_cut(_rng: Random, _topics: Topics) -> Question:
    """The rows of `system.cut` are those of the same answer's receipt."""

    def expect(_log: LogModel, covered: Covered) -> Rows:
        return in_order(
            [
                (partition, name, covered.lake[partition][lane], end)
                for partition, lanes in covered.cut.items()
                for (lane, name), end in zip(enumerate(LANE_NAMES), lanes, strict=True)
            ]
        )

    sql = (
        "select partition, lane, lake_next_offset, cut_offset from system.cut"
        " where \"table\" = 'trades'"
    )
    return Question("cut", sql, expect, counts=())


def _provenance(rng: Random, _topics: Topics) -> Question:
    part = rng.choice(("trades_history", "trades_tail"))

    def expect(log: LogModel, covered: Covered) -> Rows:
        lake = log.by_partition(covered.lake)
        if part == "trades_history":
            rows = [(p, t.rows, t.offsets) for p, (t, _, _) in lake.items()]
            foreign = covered.foreign_totals
            if foreign.rows:
                rows.append((FOREIGN_PARTITION, foreign.rows, foreign.offsets))
            return in_order([*rows])
        cut = log.by_partition(covered.cut)
        nothing = (Totals(), 0, 0)
        tail = {p: t.minus(lake.get(p, nothing)[0]) for p, (t, _, _) in cut.items()}
        return in_order([(p, t.rows, t.offsets) for p, t in tail.items() if t.rows])

    sql = f"select _partition, count(*), sum(_offset) from {part} group by _partition"
    return Question("provenance", sql, expect, (1,))


def _dead(_rng: Random, _topics: Topics) -> Question:
    def expect(log: LogModel, covered: Covered) -> Rows:
        dead = log.dead(covered.cut)
        return [(dead.rows, dead.offsets if dead.rows else None)]

    return Question("dead letters", "select count(*), sum(_offset) from trades_dead", expect)


def _seam(_rng: Random, _topics: Topics) -> Question:
    """The last row of history and the first of the tail, where they are neighbours in the log."""

    def expect(log: LogModel, covered: Covered) -> Rows:
        found: list[tuple[Value, ...]] = []
        for partition, lanes in covered.lake.items():
            for offset in range(max(0, min(lanes) - 1), max(lanes)):
                below, above = (log.lane_at(partition, o) for o in (offset, offset + 1))
                if below is None or above is None:
                    continue
                in_tail = lanes[above] <= offset + 1 < covered.cut[partition][above]
                if offset < lanes[below] and in_tail:
                    found.append((partition, offset, offset + 1))
        return in_order(found)

    sql = (
        "select h._partition, h._offset, t._offset from trades_history h join trades_tail t"
        " on h._partition = t._partition and h._offset + 1 = t._offset"
    )
    return Question("join at the seam", sql, expect, counts=())


def _join(rng: Random, topics: Topics) -> Question:
    symbol = _symbol(rng, topics)

    def expect(log: LogModel, covered: Covered) -> Rows:
        lake, all_ = log.rows_of(covered.lake, symbol), log.rows_of(covered.cut, symbol)
        return [(lake * (all_ - lake),)]

    sql = (
        "select count(*) from trades_history h join trades_tail t on h.symbol = t.symbol"
        f" where h.symbol = '{symbol}' and t.symbol = '{symbol}'"
    )
    return Question("join", sql, expect)


def _self_join(rng: Random, topics: Topics) -> Question:
    symbol = _symbol(rng, topics)

    def expect(log: LogModel, covered: Covered) -> Rows:
        pairs = log.rows_of(covered.cut, symbol)
        for message_id in log.repeated.get(symbol, ()):
            places = log.places(message_id)
            times = sum(holds(covered.cut, p) and p.symbol == symbol for p in places)
            pairs += times * times - times
        return [(pairs,)]

    sql = (
        "select count(*) from trades a join trades b on a.message_id = b.message_id"
        f" where a.symbol = '{symbol}' and b.symbol = '{symbol}'"
    )
    return Question("self join", sql, expect)


def _symbol(rng: Random, topics: Topics) -> str:
    return rng.choice(topics.symbols) if topics.symbols else "none"


def _of_symbol(log: LogModel, cut: Cut, covered: Covered, symbol: str) -> Totals:
    if symbol == FOREIGN_SYMBOL:
        return covered.foreign_totals
    return log.totals(cut, symbol)


def _aggregates(totals: Totals) -> tuple[Value, ...]:
    """count, sum(price), sum(quantity) in SQL's words: a sum over nothing is NULL."""
    if not totals.rows:
        return 0, None, None
    return totals.rows, totals.price, totals.quantity


_WEIGHTED: tuple[tuple[int, Callable[[Random, Topics], Question]], ...] = (
    (30, _count),
    (3, _sums),
    (10, _symbol_sums),
    (30, _point),
    (2, _by_symbol),
    (10, _parts),
    (10, _tail),
    (10, _system_cut),
    (3, _provenance),
    (5, _dead),
    (2, _seam),
    (3, _join),
    (2, _self_join),
)
_WEIGHTS = [weight for weight, _ in _WEIGHTED]
_MAKERS = [make for _, make in _WEIGHTED]
KINDS = len(_MAKERS)
