"""The functions by which tools find out where they are; their values are those of a context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import datafusion
import pyarrow as pa

from flight_server.options import CATALOG_NAME

if TYPE_CHECKING:
    from datafusion import ScalarUDF

_NAMES_USER = re.compile(r"(?:current|session)_user", re.IGNORECASE)


def names_user(sql: str) -> bool:
    """Whether `sql` may ask who the user is."""
    return _NAMES_USER.search(sql) is not None


def functions(version: str, schema: str, user: str) -> list[ScalarUDF]:
    """Functions without arguments; the engine puts their values into the plan."""
    values = {
        "version": f"{version} (DataFusion {datafusion.__version__})",
        "current_schema": schema,
        "current_catalog": CATALOG_NAME,
        "current_database": CATALOG_NAME,
        "current_user": user,
        "session_user": user,
    }
    return [_constant(name, value) for name, value in values.items()]


def _constant(name: str, value: str) -> ScalarUDF:
    values = pa.array([value])
    return datafusion.udf(lambda: values, [], pa.string(), "immutable", name)
