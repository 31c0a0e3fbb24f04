"""What a platform costs in a month, by component. Pure.

All volumes are those of the mean rate, all sizes those of the peak. A table has one sidecar, and
its lake files, so beyond what one sidecar sustains the topic is split into several tables.
docs/cost-model.md has each formula with its reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from highwater.cost.inputs import Measured, Prices, Workload

HOURS = 730.0  # of a month: 365 * 24 / 12
_SECONDS = HOURS * 3_600
_DAY_S = 86_400.0
_GB = 1e9
_MB = 1e6
_GIB = 2.0**30
COMPACTED_BYTES = 128e6  # size of a file after compaction
_GETS_PER_SNAPSHOT = 3  # metadata, manifest list, the new manifest: by each server, each commit
_CATALOGS = 1

COMPONENTS = ("broker", "compute", "storage", "requests", "network", "catalog", "monitoring")


@dataclass(frozen=True)
class Estimate:
    """The costs of one mean rate: `usd_per_month` by component, and the sizes behind them."""

    messages_per_s: float
    usd_per_month: Mapping[str, float]
    sizes: Mapping[str, float]

    @property
    def total_usd_per_month(self) -> float:
        """The sum of the components."""
        return sum(self.usd_per_month.values())

    @property
    def usd_per_million(self) -> float:
        """Dollars for a million messages."""
        return usd_per_million(self.total_usd_per_month, self.messages_per_s)


def messages_per_month(messages_per_s: float) -> float:
    """Messages in a month of 730 hours."""
    return messages_per_s * _SECONDS


def usd_per_million(usd_per_month: float, messages_per_s: float) -> float:
    """A month's cost as the cost of a million messages."""
    return usd_per_month / (messages_per_month(messages_per_s) / 1e6)


def estimate(
    messages_per_s: float, workload: Workload, prices: Prices, measured: Measured
) -> Estimate:
    """The monthly cost of a mean rate."""
    sizes = _sizes(messages_per_s, workload, prices, measured)
    return Estimate(messages_per_s, _costs(sizes, prices), sizes)


def _costs(sizes: Mapping[str, float], prices: Prices) -> dict[str, float]:
    processes = sizes["brokers"] + sizes["sidecars"] + sizes["server_processes"]
    return {
        "broker": sizes["brokers"] * prices.broker_usd_per_h * HOURS
        + sizes["topic_gb"] * prices.broker_disk_usd_per_gb_month,
        "compute": sizes["nodes"] * prices.node_usd_per_h * HOURS,
        "storage": sizes["lake_gb"] * prices.lake_usd_per_gb_month,
        "requests": sizes["puts_per_month"] / 1e3 * prices.lake_put_usd_per_1000
        + sizes["gets_per_month"] / 1e3 * prices.lake_get_usd_per_1000,
        "network": sizes["between_zones_gb_per_month"] * prices.network_between_zones_usd_per_gb,
        "catalog": _CATALOGS * prices.catalog_usd_per_h * HOURS,
        "monitoring": processes
        * (
            sizes["series_per_process"] * prices.monitoring_series_usd_per_month
            + sizes["logs_gb_per_process"] * prices.monitoring_logs_usd_per_gb
        ),
    }


def _sizes(rate: float, workload: Workload, prices: Prices, measured: Measured) -> dict[str, float]:
    scale = workload.message_bytes / measured.message_bytes
    usable_per_s = rate * workload.peak_ratio / workload.utilisation_share
    sidecars = math.ceil(usable_per_s / measured.sidecar_messages_per_s)
    followers = workload.servers * math.ceil(usable_per_s / measured.server_messages_per_s)
    wire_bytes = measured.topic_bytes_per_message * scale
    return {
        "tables": sidecars,
        "sidecars": sidecars,
        "server_processes": followers,
        **_topic(rate, wire_bytes, workload, prices),
        **_lake(rate, measured.lake_bytes_per_row * scale, sidecars, workload, measured),
        **_nodes(rate, scale, sidecars, followers, workload, prices, measured),
        "series_per_process": workload.series_per_process,
        "logs_gb_per_process": workload.logs_gb_per_process,
    }


def _topic(rate: float, wire_bytes: float, workload: Workload, prices: Prices) -> dict[str, float]:
    """Brokers by the busier direction of their network; what crosses zones."""
    readers = 1 + workload.servers  # the sidecars read each message once, each server too
    sent = workload.replicas - 1 + readers
    peak_mb_per_s = rate * workload.peak_ratio * wire_bytes * max(workload.replicas, sent) / _MB
    usable_mb_per_s = prices.broker_network_mb_per_s * workload.utilisation_share
    elsewhere = (workload.zones - 1) / workload.zones  # a random place is in another zone
    copies = workload.replicas - 1 if workload.zones > 1 else 0
    month_gb = messages_per_month(rate) * wire_bytes / _GB
    answers_gb = workload.queries_per_h * HOURS * workload.result_bytes / _GB
    kept_gb = rate * 3_600 * workload.topic_retention_h * wire_bytes / _GB
    return {
        "brokers": max(workload.replicas, math.ceil(peak_mb_per_s / usable_mb_per_s)),
        "topic_gb": kept_gb * workload.replicas,
        "between_zones_gb_per_month": month_gb * (copies + (1 + readers) * elsewhere)
        + answers_gb * elsewhere,
    }


def _lake(
    rate: float, row_bytes: float, tables: int, workload: Workload, measured: Measured
) -> dict[str, float]:
    """Bytes, and requests: commits, compactions, what servers and queries read."""
    # A commit when the interval is over or the rows are many, whichever comes first.
    interval_s = min(workload.commit_interval_s, workload.flush_rows * tables / rate)
    commits_per_h = 3_600 / interval_s * tables
    compactions_per_h = min(commits_per_h, 3_600 / workload.compaction_interval_s * tables)
    # A compaction writes one file at least, so a very frequent one leaves small files again.
    large_files_per_h = max(rate * 3_600 * row_bytes / COMPACTED_BYTES, compactions_per_h)
    snapshots_per_h = commits_per_h + compactions_per_h
    puts_per_h = snapshots_per_h * measured.objects_per_commit + large_files_per_h
    files_per_query = (
        _small_s(workload) / interval_s * tables
        + (workload.query_window_s - _small_s(workload)) / 3_600 * large_files_per_h
    )
    files_read_per_h = commits_per_h + workload.queries_per_h * files_per_query
    gets_per_h = (
        snapshots_per_h * _GETS_PER_SNAPSHOT * workload.servers
        + files_read_per_h * workload.gets_per_file  # a compaction reads each small file once
    )
    return {
        "lake_gb": rate * _DAY_S * workload.lake_retention_days * row_bytes / _GB,
        "commits_per_h": commits_per_h,
        "files_per_query": files_per_query,
        "puts_per_month": puts_per_h * HOURS,
        "gets_per_month": gets_per_h * HOURS,
    }


def _small_s(workload: Workload) -> float:
    """The part of a query's window that is not compacted yet, on average.

    It is the mean of min(window, age), the last compaction's age being uniform in [0, period].
    """
    window_s, period_s = workload.query_window_s, workload.compaction_interval_s
    return window_s - window_s**2 / (2 * period_s) if window_s < period_s else period_s / 2


def _nodes(
    rate: float,
    scale: float,
    sidecars: int,
    followers: int,
    workload: Workload,
    prices: Prices,
    measured: Measured,
) -> dict[str, float]:
    """Machines of sidecars and servers, by cores or by memory, whichever is more."""
    peak = rate * workload.peak_ratio
    us_per_message = (
        measured.sidecar_cpu_us_per_message + workload.servers * measured.server_cpu_us_per_message
    ) * scale  # decoding and writing grow with the message
    scanned_rows_per_s = workload.queries_per_h / 3_600 * rate * workload.query_window_s
    busy = peak * us_per_message / 1e6 + scanned_rows_per_s / measured.scanned_rows_per_core_s
    cores = busy / workload.utilisation_share
    tail_rows = min(peak * workload.commit_interval_s, workload.flush_rows * sidecars)
    tail_bytes = workload.servers * tail_rows * measured.tail_bytes_per_row * scale
    resident_mb = sidecars * measured.sidecar_memory_mb + followers * measured.server_memory_mb
    memory_gib = (resident_mb * _MB + tail_bytes) / _GIB
    needed = math.ceil(max(cores / prices.node_vcpus, memory_gib / prices.node_memory_gib))
    # The sidecar and each server on a machine of its own, so that one failure takes one of them.
    return {"cores": cores, "memory_gib": memory_gib, "nodes": max(1 + workload.servers, needed)}
