"""SQL types for ODBC and JDBC: the rows of GetXdbcTypeInfo, and the name of an Arrow type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flight_server.protocol import schemas

_DATETIME = 9
_FULL, _BASIC = 3, 2  # searchable: by LIKE too, or all but LIKE


@dataclass(frozen=True)
class _Type:
    name: str
    data_type: int
    size: int | None
    searchable: int = _BASIC
    literal_prefix: str | None = None
    unsigned: bool | None = None
    scales: tuple[int | None, int | None] = (None, None)
    datetime_subcode: int | None = None
    radix: int | None = None


_TYPES = (
    _Type("BOOLEAN", -7, 1),
    _Type("TINYINT", -6, 3, unsigned=False, scales=(0, 0), radix=10),
    _Type("BIGINT", -5, 19, unsigned=False, scales=(0, 0), radix=10),
    _Type("VARBINARY", -3, None, _FULL, "X'"),
    _Type("DECIMAL", 3, 38, unsigned=False, scales=(0, 38), radix=10),
    _Type("INTEGER", 4, 10, unsigned=False, scales=(0, 0), radix=10),
    _Type("SMALLINT", 5, 5, unsigned=False, scales=(0, 0), radix=10),
    _Type("REAL", 7, 24, unsigned=False, radix=2),
    _Type("DOUBLE", 8, 53, unsigned=False, radix=2),
    _Type("INTERVAL", 10, None, _FULL, "INTERVAL '"),
    _Type("VARCHAR", 12, None, _FULL, "'"),
    _Type("DATE", 91, 10, _FULL, "DATE '", datetime_subcode=1),
    _Type("TIME", 92, 15, _FULL, "TIME '", scales=(0, 9), datetime_subcode=2),
    _Type("TIMESTAMP", 93, 32, _FULL, "TIMESTAMP '", scales=(0, 9), datetime_subcode=3),
)


def table(data_type: int | None) -> pa.Table:
    """All types, or those of one `data_type`; ordered by data_type and name."""
    chosen = [kind for kind in _TYPES if data_type in (None, kind.data_type)]
    chosen.sort(key=lambda kind: (kind.data_type, kind.name))
    return pa.Table.from_pylist([_row(kind) for kind in chosen], schema=schemas.XDBC_TYPES)


def _row(kind: _Type) -> dict[str, Any]:
    return {
        "type_name": kind.name,
        "data_type": kind.data_type,
        "column_size": kind.size,
        "literal_prefix": kind.literal_prefix,
        "literal_suffix": "'" if kind.literal_prefix else None,
        "create_params": ["precision", "scale"] if kind.name == "DECIMAL" else None,
        "nullable": 1,
        "case_sensitive": kind.name == "VARCHAR",
        "searchable": kind.searchable,
        "unsigned_attribute": kind.unsigned,
        "fixed_prec_scale": False,
        "auto_increment": None,
        "local_type_name": kind.name,
        "minimum_scale": kind.scales[0],
        "maximum_scale": kind.scales[1],
        "sql_data_type": _DATETIME if kind.datetime_subcode else kind.data_type,
        "datetime_subcode": kind.datetime_subcode,
        "num_prec_radix": kind.radix,
        "interval_precision": None,
    }


_NAMES: tuple[tuple[Any, str], ...] = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INTEGER"),
    (pa.types.is_integer, "BIGINT"),
    (pa.types.is_float32, "REAL"),
    (pa.types.is_floating, "DOUBLE"),
    (pa.types.is_decimal, "DECIMAL"),
    (pa.types.is_string, "VARCHAR"),
    (pa.types.is_binary, "VARBINARY"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_duration, "INTERVAL"),
    (pa.types.is_interval, "INTERVAL"),
)


def name_of(kind: pa.DataType) -> str:
    """The SQL name of an Arrow type; nested types keep Arrow's name in capitals."""
    for applies, name in _NAMES:
        if applies(kind):
            return name
    return str(kind).partition("<")[0].upper()
