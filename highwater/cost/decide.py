"""What follows from the costs: sensitivity, when to act, and what acting saves. Pure.

Nothing here has a formula of its own for a total: each answer comes from asking the model again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from contract.settings import settings_of
from highwater.cost.inputs import RATE_MAX, Workload
from highwater.cost.model import COMPACTED_BYTES, HOURS, Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from highwater.cost.inputs import Measured, Prices

_COMMIT_S = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_COMPACT_S = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1_800.0, 3_600.0, 14_400.0)
_BISECTIONS = 60
_SCALED = {
    "sidecars": "sidecar",
    "server_processes": "server process",
    "brokers": "broker",
    "nodes": "machine",
}


@dataclass(frozen=True)
class Platform:
    """Everything that a cost depends on, but the rate."""

    workload: Workload
    prices: Prices
    measured: Measured

    def at(self, messages_per_s: float) -> Estimate:
        """The monthly cost of a mean rate."""
        return estimate(messages_per_s, self.workload, self.prices, self.measured)


@dataclass(frozen=True)
class Sensitivity:
    """Total cost with one input at half and at twice its value, as shares of the total now."""

    group: str
    name: str
    value: float
    half_share: float
    twice_share: float

    @property
    def swing(self) -> float:
        """The distance between the two."""
        return abs(self.twice_share - self.half_share)


@dataclass(frozen=True)
class Trigger:
    """A decision: what holds `now`, and the value at which it is `due`."""

    name: str
    now: float | None
    due: float
    unit: str
    why: str


@dataclass(frozen=True)
class Saving:
    """What one measure saves in a month, and as a share of the total; below 0 it costs."""

    name: str
    usd_per_month: float
    share: float


def sensitivity(platform: Platform, messages_per_s: float) -> list[Sensitivity]:
    """The effect of each input alone, the largest first; the rate is not among them."""
    now = platform.at(messages_per_s).total_usd_per_month
    found = []
    for group, name, value in _inputs(platform):
        half, twice = (
            _with(platform, group, name, value * factor).at(messages_per_s).total_usd_per_month
            for factor in (0.5, 2.0)
        )
        found.append(Sensitivity(group, name, value, half / now, twice / now))
    return sorted(found, key=lambda s: (-s.swing, s.name))


def triggers(platform: Platform, messages_per_s: float) -> list[Trigger]:
    """When to scale, to commit and compact at another pace, to tier, and to reserve."""
    return [
        *_scale(platform, messages_per_s),
        _pace(platform, messages_per_s, "commit every", "commit_interval_s", "s", _COMMIT_S),
        _pace(platform, messages_per_s, "compact every", "compaction_interval_s", "s", _COMPACT_S),
        *_tier(platform, messages_per_s),
        *_reserve(platform.prices),
    ]


def savings(platform: Platform, messages_per_s: float) -> list[Saving]:
    """What reserved capacity and storage tiering save, each alone."""
    now = platform.at(messages_per_s)
    prices, workload = platform.prices, platform.workload
    machines_usd = HOURS * (
        now.sizes["brokers"] * prices.broker_usd_per_h + now.sizes["nodes"] * prices.node_usd_per_h
    )
    cold_share = max(0.0, 1 - workload.cold_after_days / workload.lake_retention_days)
    cold_gb = now.sizes["lake_gb"] * cold_share
    moved_gb = now.sizes["lake_gb"] / workload.lake_retention_days * HOURS / 24
    moved_objects = moved_gb * 1e9 / COMPACTED_BYTES if cold_share else 0.0
    tiering_usd = cold_gb * (
        prices.lake_usd_per_gb_month
        - prices.cold_usd_per_gb_month
        - workload.cold_reads_per_month * prices.cold_retrieval_usd_per_gb
    ) - (moved_objects / 1e3 * prices.cold_transition_usd_per_1000)
    found = {
        "reserve machines for 1 year": machines_usd * prices.reserved_1_year_discount_share,
        "reserve machines for 3 years": machines_usd * prices.reserved_3_years_discount_share,
        f"tier the lake after {workload.cold_after_days:g} days": tiering_usd,
    }
    return [Saving(name, usd, usd / now.total_usd_per_month) for name, usd in found.items()]


def _scale(platform: Platform, rate: float) -> Iterator[Trigger]:
    """The mean rate at which the model needs one more of each part."""
    now = platform.at(rate).sizes
    for size, word in _SCALED.items():
        low, high = rate, 2 * RATE_MAX
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            more = platform.at(middle).sizes[size] > now[size]
            low, high = (low, middle) if more else (middle, high)
        yield Trigger(f"add a {word}", rate, high, "messages/s", f"{now[size]:,.0f} carry it now")


def _pace(
    platform: Platform, rate: float, name: str, field: str, unit: str, candidates: Sequence[float]
) -> Trigger:
    """The candidate with the lowest total, or what is set now if none is below it."""
    now = float(getattr(platform.workload, field))
    usd = {
        value: _with(platform, "workload", field, value).at(rate).total_usd_per_month
        for value in (now, *candidates)
    }
    best = min(usd, key=lambda value: usd[value])
    why = f"the cheapest; saves ${usd[now] - usd[best]:,.2f} a month"
    return Trigger(name, now, best, unit, why)


def _tier(platform: Platform, rate: float) -> Iterator[Trigger]:
    prices, workload = platform.prices, platform.workload
    gained = prices.lake_usd_per_gb_month - prices.cold_usd_per_gb_month
    reads = gained / prices.cold_retrieval_usd_per_gb if prices.cold_retrieval_usd_per_gb else 1e9
    yield Trigger(
        "tier what is read at most",
        workload.cold_reads_per_month,
        max(0.0, reads),
        "times a month",
        "above it, retrieval costs more than the cheaper storage saves",
    )
    total = platform.at(rate).total_usd_per_month
    topic, lake = (
        _with(platform, "workload", field, getattr(workload, field) + more)
        .at(rate)
        .total_usd_per_month
        - total
        for field, more in (("topic_retention_h", 1.0), ("lake_retention_days", 1 / 24))
    )
    yield Trigger(
        "an hour in the topic costs",
        None,
        topic / lake if lake else 1e9,
        "times the lake's",
        f"${topic:,.2f} a month against ${lake:,.2f}",
    )


def _reserve(prices: Prices) -> Iterator[Trigger]:
    for years, share in (
        (1, prices.reserved_1_year_discount_share),
        (3, prices.reserved_3_years_discount_share),
    ):
        yield Trigger(
            f"reserve for {years} {'year' if years == 1 else 'years'} what runs at least",
            None,
            12 * years * (1 - share),
            "months of them",
            "before that, on demand is cheaper",
        )


def _inputs(platform: Platform) -> Iterator[tuple[str, str, float]]:
    for group in ("workload", "prices", "measured"):
        part = getattr(platform, group)
        for item in fields(part):
            value = getattr(part, item.name)
            # The measured size of a message is what the sizes of rows are relative to.
            if not isinstance(value, str) and (group, item.name) != ("measured", "message_bytes"):
                yield group, item.name, float(value)


def _with(platform: Platform, group: str, name: str, value: float) -> Platform:
    """The same with one input changed; one of the workload stays within its range."""
    part: Any = getattr(platform, group)
    if group == "workload":
        (item,) = (s for s in settings_of(Workload) if s.name == name)
        value = min(max(value, item.minimum or 0.0), item.maximum or value)
        value = round(value) if item.kind is int else value
    changed: Any = {group: replace(part, **{name: value})}
    return replace(platform, **changed)
