"""docs/metrics.md names what the processes register, with types and labels, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.metrics import MetricWrapperBase

from flight_server.metrics import Metrics as ServeMetrics
from ingest.metrics import Metrics as IngestMetrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PAGE = Path("docs/metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(highwater_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
DOCUMENT = {"tables": {"trades": {"state": "complete", "lag_messages": 0, "lag_s": 0.0,
                                  "tail_rows": 0, "tail_bytes": 0, "tail_chunks": 0}}}  # fmt: skip


def registered(registry: CollectorRegistry) -> set[tuple[str, str | None, tuple[str, ...]]]:
    """Name, type and labels of each metric of ours."""
    found = set()
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            suffix = "_total" if collector._type == "counter" else ""
            found.add((collector._name + suffix, collector._type, tuple(collector._labelnames)))
        else:
            for family in collector.collect():
                if family.name.startswith("highwater_"):
                    labels = tuple(family.samples[0].labels)
                    found.add((family.name, family.type, labels))
    return found


def test_the_page_lists_every_metric() -> None:
    listed = {
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE)
    }

    assert listed == registered(IngestMetrics().registry) | registered(
        ServeMetrics(lambda: DOCUMENT).registry
    )
