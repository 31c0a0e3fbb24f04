"""What a cost depends on: the workload, prices, and what was measured of the parts.

Names end with their units; `usd` is money, `gb` is 10^9 bytes. Prices and measured figures are
read from TOML files; each is checked by name and range.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import RequestError
from contract.settings import setting

PRICES = Path(__file__).with_name("prices.toml")
MEASURED = Path(__file__).with_name("measured.toml")
RATE_MAX = 1e9  # messages a second; beyond it somebody mistyped

_ABOUT = ("date", "source", "region")
_POSITIVE = ("vcpus", "memory_gib", "network_mb_per_s")

T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """What is asked of the platform, besides the mean rate of messages."""

    message_bytes: float = setting(
        408.0, doc="Size of a message before compression", unit="bytes", minimum=1, maximum=1e7
    )
    peak_ratio: float = setting(
        3.0, doc="Peak rate over mean rate; parts are sized for the peak", minimum=1, maximum=1_000
    )
    utilisation_share: float = setting(
        0.6, doc="Share of a core or network that the peak may use", minimum=0.05, maximum=1
    )
    topic_retention_h: float = setting(
        24.0, doc="Retention of the topic", unit="h", minimum=0.1, maximum=100_000
    )
    lake_retention_days: float = setting(
        365.0, doc="Retention of the lake; it is priced full", unit="days", minimum=0.1, maximum=1e5
    )
    replicas: int = setting(3, doc="Copies of the topic", minimum=1, maximum=10)
    zones: int = setting(3, doc="Availability zones", minimum=1, maximum=10)
    servers: int = setting(2, doc="Servers, each with the whole tail", minimum=1, maximum=1_000)
    queries_per_h: float = setting(
        600.0, doc="Queries of all users", unit="queries/h", minimum=0, maximum=1e9
    )
    query_window_s: float = setting(
        900.0, doc="Time that a query looks back", unit="s", minimum=0, maximum=1e9
    )
    result_bytes: float = setting(
        100_000.0, doc="Size of an answer", unit="bytes", minimum=0, maximum=1e12
    )
    gets_per_file: float = setting(
        4.0, doc="Requests to read what a query needs of one file", minimum=1, maximum=1_000
    )
    commit_interval_s: float = setting(
        5.0, doc="Time between commits (--flush-interval-s)", unit="s", minimum=0.1, maximum=3_600
    )
    flush_rows: int = setting(
        262_144, doc="Rows that are committed before that time", unit="rows", minimum=1, maximum=1e9
    )
    compaction_interval_s: float = setting(
        40.0,
        doc="Time between compactions of small files; the default is eight commits",
        unit="s",
        minimum=1.0,
        maximum=1e7,
    )
    cold_after_days: float = setting(
        30.0, doc="Age at which tiering moves a file to cold storage", unit="days", minimum=0
    )
    cold_reads_per_month: float = setting(
        0.05, doc="How often a byte of cold storage is read", unit="1/month", minimum=0, maximum=1e4
    )
    series_per_process: float = setting(
        200.0, doc="Metric series kept for a process", unit="series", minimum=0, maximum=1e6
    )
    logs_gb_per_process: float = setting(
        1.0, doc="Logs of a process in a month", unit="GB/month", minimum=0, maximum=1e6
    )


@dataclass(frozen=True)
class Prices:
    """US dollars. A broker or node is one machine of the price file; shares are 0 to 1."""

    date: str
    source: str
    region: str
    broker_usd_per_h: float
    broker_network_mb_per_s: float
    broker_disk_usd_per_gb_month: float
    node_usd_per_h: float
    node_vcpus: float
    node_memory_gib: float
    lake_usd_per_gb_month: float
    lake_put_usd_per_1000: float
    lake_get_usd_per_1000: float
    cold_usd_per_gb_month: float
    cold_retrieval_usd_per_gb: float
    cold_transition_usd_per_1000: float
    network_between_zones_usd_per_gb: float
    catalog_usd_per_h: float
    monitoring_series_usd_per_month: float
    monitoring_logs_usd_per_gb: float
    reserved_1_year_discount_share: float
    reserved_3_years_discount_share: float


@dataclass(frozen=True)
class Measured:
    """Figures of this project's benchmarks; `measured.toml` says of which run each is."""

    message_bytes: float
    topic_bytes_per_message: float
    lake_bytes_per_row: float
    tail_bytes_per_row: float
    sidecar_messages_per_s: float
    sidecar_cpu_us_per_message: float
    sidecar_memory_mb: float
    server_messages_per_s: float
    server_cpu_us_per_message: float
    server_memory_mb: float
    scanned_rows_per_core_s: float
    objects_per_commit: float


def load_prices(path: Path = PRICES) -> Prices:
    """Prices from a TOML file whose sections are the first words of the names.

    Raises RequestError for an unknown, missing, ill-typed or impossible one.
    """
    content = _toml(path)
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= {f"{key}_{name}": price for name, price in value.items()}
        else:
            found[key] = value
    return _checked(Prices, found, path)


def load_measured() -> Measured:
    """The measured figures that are shipped."""
    return measured_of(_toml(MEASURED))


def measured_of(found: dict[str, Any]) -> Measured:
    """Measured figures from the keys of a file. Raises RequestError as `load_prices` does."""
    return _checked(Measured, found, MEASURED)


def rate_of(text: str) -> float:
    """Messages a second from text: `10000`, `10k`, `1.5M`. Raises RequestError."""
    scale = {"k": 1e3, "M": 1e6}.get(text[-1:], 1.0)
    try:
        rate = float(text[:-1] if scale > 1 else text) * scale
    except ValueError:
        rate = math.nan
    if not 0 < rate <= RATE_MAX:  # refuses nan as well
        raise RequestError(
            f"--messages-per-s {text}: give a mean rate above 0 and at most {RATE_MAX:,.0f}, "
            "for example 10k or 1.5M"
        )
    return rate


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RequestError(f"{path.name} cannot be read: {reason}") from error


def _checked(cls: type[T], found: dict[str, Any], path: Path) -> T:
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for name, value in found.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise RequestError(f"{path.name}: unknown key {name}; the nearest is {near}")
        _check_value(name, value, path)
    missing = [name for name in names if name not in found]
    if missing:
        raise RequestError(f"{path.name} lacks {missing[0]}: copy it from the file that is shipped")
    return cls(**found)


def _check_value(name: str, value: object, path: Path) -> None:
    if name in _ABOUT:
        if not isinstance(value, str) or not value:
            raise RequestError(f"{path.name}: {name} is not a text")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestError(f"{path.name}: {name} is {value!r}, not a number")
    positive = name.endswith(_POSITIVE) or path.name == MEASURED.name
    if value < 0 or (positive and value == 0):
        raise RequestError(
            f"{path.name}: {name} is {value}; it is {'above' if positive else 'at least'} 0"
        )
    if name.endswith("_share") and value >= 1:
        raise RequestError(f"{path.name}: {name} is {value}; a discount is below 1")
