"""Sidecars and servers with a planted bug, as processes: an auditor must find each of them.

    python -m tests.support.planted BUG <arguments of the process>

Each replaces one function of the product in this process alone.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from flight_server import __main__ as server
from flight_server import view
from flight_server.tail.watermarks import dead_watermarks
from flight_server.view import ViewPublisher
from highwater.audit import sidecar
from ingest import iceberg_schema, iceberg_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contract.marker import NextOffsets

_TRIM_AHEAD_S = 0.3

# What is replaced is not for anybody else.
view_module: Any = view
table_module: Any = iceberg_table
publisher_class: Any = ViewPublisher


def cut_off_by_one(argv: list[str], environ: Mapping[str, str]) -> int:
    """A server that takes the first offset after the lake for one that is in it."""
    right = view_module.watermarks

    def wrong(marker: Any, origin: Any, partitions: Any) -> NextOffsets:
        found = right(marker, origin, partitions)
        known = marker.next if marker is not None else {}
        return {p: tuple(o + (p in known) for o in lanes) for p, lanes in found.items()}

    view_module.watermarks = wrong
    return server.run(argv, environ)


def trimmed_too_early(argv: list[str], environ: Mapping[str, str]) -> int:
    """A server that trims its tail a moment before the view with the snapshot is published."""
    publish = ViewPublisher.on_lake

    def on_lake(publisher: Any, lake: Any, dead: Any) -> None:
        known, index = publisher.lake(), publisher.index()
        if known is not None and index is not None and known[0].marker is not None:
            with publisher._lock:
                recut = index.recut(
                    view_module.watermarks(lake.marker, publisher._origin, index.hi),
                    dead_watermarks(dead),
                )
                publisher._index, dropped = recut.trim()
                publisher._dropped += dropped
                publisher._publish()
            time.sleep(_TRIM_AHEAD_S)
        publish(publisher, lake, dead)

    publisher_class.on_lake = on_lake
    return server.run(argv, environ)


def retries_left_on(argv: list[str], environ: Mapping[str, str]) -> int:
    """A sidecar on a table whose property lets the library put rows on top of another's."""
    unwatched = "planted.retries"
    iceberg_schema.PROPERTIES.update({iceberg_schema.RETRIES: "4", unwatched: "0"})
    table_module.RETRIES = unwatched
    return sidecar.run(argv, environ)


BUGS: dict[str, Callable[[list[str], Mapping[str, str]], int]] = {
    bug.__name__: bug for bug in (cut_off_by_one, trimmed_too_early, retries_left_on)
}

if __name__ == "__main__":
    sys.exit(BUGS[sys.argv[1]](sys.argv[2:], os.environ))
