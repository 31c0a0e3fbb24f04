"""The facts of GetSqlInfo: code -> union child and value, and the exact union layout.

JDBC casts each value to one Java class and ODBC reinterprets its bytes, so that the child matters
more than the interface's prose: 503, 505, 507, 541-562 are int64 for both. Codes >= 10000, or any
that the drivers do not know, must not be in the answer to "all": JDBC fails on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flight_server.protocol import schemas

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flight_server.protocol.limits import Product, ProtocolLimits

TEXT, BOOL, INT64, INT32, TEXTS, MAP = range(6)  # the children of the union, in its order
Facts = dict[int, tuple[int, Any]]


def _words(text: str) -> list[str]:
    return text.split()


_KEYWORDS = ("ANTI", "EXPLAIN", "ILIKE", "LIMIT", "OFFSET", "QUALIFY", "SEMI", "SHOW")
_NUMERIC = _words(
    "abs acos asin atan atan2 cbrt ceil cos cot degrees exp floor ln log log10 log2 pi power "
    "radians random round signum sin sqrt tan trunc"
)
_STRING = _words(
    "ascii btrim char_length chr concat concat_ws initcap left lower lpad ltrim md5 octet_length "
    "regexp_like regexp_match regexp_replace repeat replace reverse right rpad rtrim split_part "
    "starts_with strpos substr translate trim upper"
)
_SYSTEM = _words(
    "arrow_cast arrow_typeof coalesce current_catalog current_database current_schema current_user "
    "nullif nvl session_user version"
)
_TIME = _words(
    "current_date current_time date_bin date_part date_trunc from_unixtime make_date now "
    "to_char to_date to_timestamp to_timestamp_micros to_timestamp_millis to_unixtime"
)


def facts(product: Product, limits: ProtocolLimits) -> Facts:
    """Every code that this server answers."""
    every: Facts = {
        0: (TEXT, product.name),
        1: (TEXT, product.version),
        2: (TEXT, pa.__version__),
        8: (INT32, 1),  # transactions, no savepoints; the ADBC driver reads exactly this child
        100: (INT32, int(limits.ticket_ttl_s * 1000)),
        101: (INT32, int(limits.transaction_idle_s * 1000)),
        504: (TEXT, '"'),
        508: (TEXTS, list(_KEYWORDS)),
        509: (TEXTS, _NUMERIC),
        510: (TEXTS, _STRING),
        511: (TEXTS, _SYSTEM),
        512: (TEXTS, _TIME),
        513: (TEXT, "\\"),
        514: (TEXT, "$"),
        517: (MAP, []),
        529: (TEXT, "schema"),
        530: (TEXT, ""),
        531: (TEXT, "catalog"),
    }
    every.update({code: (BOOL, value) for code, value in _BOOLEANS.items()})
    every.update({code: (INT32, value) for code, value in _MASKS.items()})
    every.update({code: (INT64, value) for code, value in _NUMBERS.items()})
    return dict(sorted(every.items()))


_BOOLEANS = {
    3: True,  # read only
    4: True,  # SQL
    5: False,  # Substrait
    9: True,  # CancelQuery and CancelFlightInfo
    10: False,
    11: False,
    **dict.fromkeys((500, 501, 502), False),  # data definition
    506: True,
    515: True,
    516: True,
    518: True,
    519: False,
    520: True,
    521: True,
    523: True,
    524: True,
    527: False,
    532: True,
    536: False,
    537: False,
    539: True,
    556: True,
    563: False,  # transactions: only JDBC and ODBC ask, whose drivers never begin one
    565: False,
    566: False,
    **dict.fromkeys(range(572, 577), False),
}
_MASKS = {
    522: 3,  # GROUP BY: unrelated, beyond select
    525: 3,  # grammar: minimum, core
    526: 1,  # ANSI92: entry
    528: 6,  # outer joins: both drivers read a mask
    533: 0,
    534: 0,
    535: 0,
    538: 15,
    540: 3,
    564: 1,
    567: 2,  # result sets: forward only
    568: 0,
    569: 2,
    570: 0,
    571: 0,
}
_NUMBERS = {
    503: 3,  # unquoted names fold to lower case
    505: 0,
    507: 0,  # nulls sort high
    **dict.fromkeys((*range(541, 556), *range(557, 562)), 0),  # limits: none
    562: 0,
}


def table(every: Mapping[int, tuple[int, Any]], codes: Collection[int]) -> pa.Table:
    """The rows for `codes` (none = all) in order of code; unknown codes are left out."""
    chosen = [(code, *fact) for code, fact in sorted(every.items()) if not codes or code in codes]
    values: list[list[Any]] = [[] for _ in range(schemas.SQL_INFO_VALUE.num_fields)]
    offsets = []
    for _, child, value in chosen:
        offsets.append(len(values[child]))
        values[child].append(value)
    fields = [schemas.SQL_INFO_VALUE.field(i) for i in range(schemas.SQL_INFO_VALUE.num_fields)]
    children = [pa.array(column, field.type) for column, field in zip(values, fields, strict=True)]
    # from_dense() makes nullable children, which is another type than the interface's
    union = pa.Array.from_buffers(
        schemas.SQL_INFO_VALUE,
        len(chosen),
        [
            None,
            pa.array([child for _, child, _ in chosen], pa.int8()).buffers()[1],
            pa.array(offsets, pa.int32()).buffers()[1],
        ],
        children=children,
    )
    names = pa.array([code for code, _, _ in chosen], pa.uint32())
    return pa.Table.from_arrays([names, union], schema=schemas.SQL_INFO)
