"""Names for types that several modules of the query path share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from datafusion import DataFrame

from flight_server.lake.scan import LakeScan
from flight_server.lake.snapshot import DataFiles, LakeSnapshot
from flight_server.view import View

LakeView: TypeAlias = View[LakeSnapshot]

# Scan this name over these files, or over those of them that the statement needs.
ScanFiles: TypeAlias = Callable[[LakeScan, str, DataFiles], DataFrame]
