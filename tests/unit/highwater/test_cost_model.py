"""The cost model: units, monotony, and what is decided from it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highwater.cost.decide import Platform, savings, sensitivity, triggers
from highwater.cost.inputs import Prices, Workload, load_measured, load_prices
from highwater.cost.model import COMPONENTS, messages_per_month, usd_per_million

PLATFORM = Platform(Workload(), load_prices(), load_measured())
RATES = st.floats(1.0, 2e7)
# Inputs of which more is more work. The intervals trade one cost for another.
MORE_WORK = [
    "message_bytes",
    "peak_ratio",
    "topic_retention_h",
    "lake_retention_days",
    "replicas",
    "zones",
    "servers",
    "queries_per_h",
    "query_window_s",
    "result_bytes",
    "gets_per_file",
    "series_per_process",
    "logs_gb_per_process",
]
TRADE_OFFS = {"commit_interval_s", "flush_rows", "compaction_interval_s", "utilisation_share"}
SAVINGS_ONLY = {"cold_after_days", "cold_reads_per_month"}
USD = [item.name for item in fields(Prices) if "_usd_" in item.name]

workloads = st.builds(
    Workload,
    message_bytes=st.floats(20, 5_000),
    peak_ratio=st.floats(1, 10),
    topic_retention_h=st.floats(1, 1_000),
    lake_retention_days=st.floats(1, 3_000),
    replicas=st.integers(1, 5),
    zones=st.integers(1, 4),
    servers=st.integers(1, 20),
    queries_per_h=st.floats(0, 1e5),
    query_window_s=st.floats(0, 1e5),
    commit_interval_s=st.floats(0.5, 600),
    compaction_interval_s=st.floats(1, 1e5),
)


def with_workload(**changes: Any) -> Platform:
    return replace(PLATFORM, workload=replace(PLATFORM.workload, **changes))


@given(RATES, workloads)
def test_the_total_is_the_cost_of_a_million_times_the_millions_of_messages(
    rate: float, workload: Workload
) -> None:
    found = replace(PLATFORM, workload=workload).at(rate)

    millions = rate * 3_600 * 730 / 1e6
    assert found.usd_per_million * millions == pytest.approx(found.total_usd_per_month)
    assert sum(found.usd_per_month[name] for name in COMPONENTS) == pytest.approx(
        found.total_usd_per_month
    )
    assert set(found.usd_per_month) == set(COMPONENTS)
    assert all(usd >= 0 for usd in found.usd_per_month.values())


def test_617_dollars_a_month_at_10_k_a_second_are_two_cents_for_a_million() -> None:
    assert messages_per_month(10_000) == 26_280_000_000
    assert usd_per_million(617, 10_000) == pytest.approx(0.0235, abs=0.0001)


@given(RATES, workloads, st.floats(0.01, 100))
def test_every_dollar_price_times_k_is_the_total_times_k(
    rate: float, workload: Workload, k: float
) -> None:
    dear = replace(PLATFORM.prices, **{name: k * getattr(PLATFORM.prices, name) for name in USD})
    base = replace(PLATFORM, workload=workload)

    assert replace(base, prices=dear).at(rate).total_usd_per_month == pytest.approx(
        k * base.at(rate).total_usd_per_month
    )


def test_what_is_more_work_and_what_is_a_trade_is_known_of_every_input() -> None:
    names = {item.name for item in fields(Workload)}

    assert names == set(MORE_WORK) | TRADE_OFFS | SAVINGS_ONLY


@pytest.mark.parametrize("name", MORE_WORK)
@settings(max_examples=25)
@given(rate=RATES, workload=workloads, factor=st.floats(1, 4))
def test_more_work_is_never_cheaper(
    name: str, rate: float, workload: Workload, factor: float
) -> None:
    value = getattr(workload, name)
    more = round(value * factor) if isinstance(value, int) else value * factor
    little = replace(PLATFORM, workload=workload).at(rate).total_usd_per_month
    much = (
        replace(PLATFORM, workload=replace(workload, **{name: more})).at(rate).total_usd_per_month
    )

    assert much >= little * (1 - 1e-9)


@given(RATES, st.floats(1, 10), workloads)
def test_a_higher_rate_costs_no_less(rate: float, factor: float, workload: Workload) -> None:
    platform = replace(PLATFORM, workload=workload)

    assert platform.at(rate * factor).total_usd_per_month >= (
        platform.at(rate).total_usd_per_month * (1 - 1e-9)
    )


@pytest.mark.parametrize("name", USD)
def test_a_higher_price_costs_no_less(name: str) -> None:
    dear = replace(PLATFORM.prices, **{name: 2 * getattr(PLATFORM.prices, name)})

    before, after = PLATFORM.at(1e6), replace(PLATFORM, prices=dear).at(1e6)

    if name.startswith("cold_"):
        assert savings(replace(PLATFORM, prices=dear), 1e6) != savings(PLATFORM, 1e6)
    else:
        assert after.total_usd_per_month > before.total_usd_per_month


def test_sizes_follow_from_bytes_rate_and_time() -> None:
    """By hand: 1,000 messages a second of the measured size, for one day and one hour."""
    measured = PLATFORM.measured
    platform = with_workload(
        message_bytes=measured.message_bytes, topic_retention_h=1.0, lake_retention_days=1.0
    )

    sizes = platform.at(1_000).sizes

    assert sizes["lake_gb"] == pytest.approx(86_400_000 * measured.lake_bytes_per_row / 1e9)
    assert sizes["topic_gb"] == pytest.approx(
        3 * 3_600_000 * measured.topic_bytes_per_message / 1e9
    )
    assert sizes["commits_per_h"] == 720
    assert sizes["sidecars"] == 1
    assert sizes["nodes"] == 3


def test_a_commit_is_due_by_rows_where_they_come_before_the_time() -> None:
    assert with_workload(flush_rows=1_000).at(1_000).sizes["commits_per_h"] == pytest.approx(3_600)


def test_the_share_of_a_window_that_is_not_compacted_has_no_jump_at_the_period() -> None:
    below, above = (
        with_workload(query_window_s=window_s, compaction_interval_s=3_600.0).at(1e4)
        for window_s in (3_599.999, 3_600.001)
    )

    assert below.sizes["files_per_query"] == pytest.approx(above.sizes["files_per_query"], rel=1e-5)


def test_one_more_part_is_due_exactly_at_its_trigger() -> None:
    parts = {"a sidecar": "sidecars", "a server process": "server_processes"}
    parts |= {"a broker": "brokers", "a machine": "nodes"}
    for trigger in triggers(PLATFORM, 1e6):
        if trigger.name.startswith("add "):
            size = parts[trigger.name.removeprefix("add ")]
            now = PLATFORM.at(1e6).sizes[size]
            assert PLATFORM.at(trigger.due * 0.999_999).sizes[size] == now
            assert PLATFORM.at(trigger.due * 1.000_001).sizes[size] > now


def test_the_proposed_intervals_cost_no_more_than_those_that_are_set() -> None:
    for rate in (1e4, 1e6):
        due = {trigger.name: trigger.due for trigger in triggers(PLATFORM, rate)}
        now = PLATFORM.at(rate).total_usd_per_month
        for name, field in (
            ("commit every", "commit_interval_s"),
            ("compact every", "compaction_interval_s"),
        ):
            assert with_workload(**{field: due[name]}).at(rate).total_usd_per_month <= now


def test_tiering_costs_more_than_it_saves_beyond_the_reads_that_its_trigger_names() -> None:
    (reads,) = (t.due for t in triggers(PLATFORM, 1e6) if t.name.startswith("tier "))

    seldom, often = (
        savings(with_workload(cold_reads_per_month=reads * factor), 1e6)[-1].usd_per_month
        for factor in (0.9, 1.1)
    )

    assert seldom > 0 > often


def test_nothing_is_tiered_that_is_deleted_before() -> None:
    platform = with_workload(cold_after_days=400.0)

    assert savings(platform, 1e6)[-1].usd_per_month == 0


def test_sensitivity_says_what_the_model_says() -> None:
    found = {one.name: one for one in sensitivity(PLATFORM, 1e6)}
    now = PLATFORM.at(1e6).total_usd_per_month

    half = with_workload(lake_retention_days=182.5).at(1e6).total_usd_per_month
    assert found["lake_retention_days"].half_share == pytest.approx(half / now)
    assert found["cold_after_days"].swing == 0
    assert found["replicas"].half_share < 1 < found["replicas"].twice_share
