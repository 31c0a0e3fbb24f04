"""The engine's own Parquet scan over exactly the files that it is given."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion.plan import LogicalPlan

from contract.errors import BugError
from flight_server.lake.paths import url_of
from flight_server.lake.plan_bytes import ListingPlan
from flight_server.lake.types import scan_schema

if TYPE_CHECKING:
    from pathlib import Path

    from datafusion import DataFrame, SessionConfig, SessionContext

    from flight_server.lake.snapshot import DataFiles

# The options of the session in which plans are made travel inside the plan. Filters are evaluated
# while decoding (TopK 38 -> 18 ms), bloom filters and page indexes are used.
_SCAN_SETTINGS = {
    "datafusion.execution.parquet.pushdown_filters": "true",
    "datafusion.execution.parquet.bloom_filter_on_read": "true",
    "datafusion.execution.parquet.enable_page_index": "true",
    "datafusion.execution.collect_statistics": "true",
    # Scalar subqueries become joins, so that their scans are seen and can be pruned as well.
    "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery": "false",
}

# Statistics cost about 30 us per listed file in every plan. For short lists they pay: count(*)
# without reading, TopK by file order. Pruning has made the list short whenever it could.
STATISTICS_FILES_MAX = 500

_SCAN_NAME = re.compile(r"[A-Za-z0-9_.#-]{1,200}")


def with_scan_settings(config: SessionConfig) -> SessionConfig:
    """`config` with the options that lake scans are built for."""
    for key, value in _SCAN_SETTINGS.items():
        config = config.set(key, value)
    return config


class LakeScan:
    """Makes scans of one schema; safe to use from several threads at once."""

    def __init__(self, ctx: SessionContext, arrow_schema: pa.Schema, scratch_dir: Path) -> None:
        """Prepare the template; this blocks and writes one small file below `scratch_dir`.

        `ctx` is a session whose config went through `with_scan_settings`. `arrow_schema` is the
        table's; scans yield `scan_schema(arrow_schema)`, whatever older files hold: columns are
        found by name, widened, or NULL where a file does not have them. The file must stay while
        the object is used: it stands for "no files".
        """
        self._ctx = ctx
        self.schema = scan_schema(arrow_schema)
        template = _template_file(self.schema, scratch_dir)
        self._no_files = pa.array([url_of(str(template))], pa.string())
        # An empty extension: otherwise files with another ending are skipped without an error.
        frame = ctx.read_parquet(str(template), schema=self.schema, file_extension="")
        self._plan = ListingPlan.parse(frame.logical_plan().to_bytes())
        self._check()

    def frame(self, scan_name: str, files: DataFiles) -> DataFrame:
        """A scan of `files` that is called `scan_name` in plans; does not block and reads nothing.

        `scan_name` must be unique in the statement, or the filters of two tables are mixed up.
        An empty `files` gives a scan without rows. A file that does not exist is skipped by the
        engine *without an error*: call `verify_files` when the physical plan was made.
        """
        if not _SCAN_NAME.fullmatch(scan_name):
            raise BugError("a scan's name may hold letters, digits and _.#- only")
        urls = files.urls.combine_chunks() if len(files) else self._no_files
        plan = self._plan.with_files(
            urls, scan_name, collect_stat=len(files) <= STATISTICS_FILES_MAX
        )
        return self._ctx.create_dataframe_from_logical_plan(LogicalPlan.from_bytes(self._ctx, plan))

    def probe(self, scan_name: str) -> DataFrame:
        """A scan for the first planning of a statement: only its filters are of interest."""
        urls = self._no_files
        plan = self._plan.with_files(urls, scan_name, collect_stat=True)
        return self._ctx.create_dataframe_from_logical_plan(LogicalPlan.from_bytes(self._ctx, plan))

    def _check(self) -> None:
        """Fail at start, not in a statement, if the engine's plan format changed."""
        frame = self.probe("check")
        if not frame.schema().equals(self.schema) or frame.count() != 0:
            raise BugError("the engine does not read its own plan back as it was written")


def _template_file(schema: pa.Schema, scratch_dir: Path) -> Path:
    """A Parquet file without rows; its name depends on its content, so files are never changed."""
    digest = hashlib.sha256(schema.serialize()).hexdigest()[:24]
    target = scratch_dir.resolve() / f"no-rows-{digest}.parquet"
    if not target.exists():
        scratch_dir.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".unfinished")
        pq.write_table(schema.empty_table(), unfinished)
        unfinished.replace(target)
    return target
