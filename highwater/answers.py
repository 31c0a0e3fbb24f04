"""The questions that the demo asks, and its picture of the answers. No I/O but the cursor's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from highwater.output import aligned
from highwater.sql import asked, receipt_of

if TYPE_CHECKING:
    import pyarrow as pa

COUNTS = """\
select (select count(*) from {table}_history) as lake, (select count(*) from {table}_tail) as tail,
       (select count(*) from {table}) as "all" """
# The floats are made below the aggregates: side by side, sum(quantity) and the sum of its cast
# would be given the same name by the engine.
LAST_MINUTE = """\
select symbol, count(*) as trades, round(sum(p * q) / sum(q), 2) as vwap, sum(quantity) as volume,
       max(timestamp) as newest
from (select symbol, timestamp, quantity, cast(price as double) as p, cast(quantity as double) as q
      from {table} where timestamp >= now() - interval '1 minute')
group by symbol order by trades desc limit 8"""
OHLC = """\
select date_bin(interval '1 minute', timestamp) as minute, symbol,
       first_value(price order by timestamp, source_sequence) as open, max(price) as high,
       min(price) as low, last_value(price order by timestamp, source_sequence) as close,
       count(*) as trades
from {table} where timestamp >= now() - interval '5 minutes'
group by minute, symbol order by minute desc, trades desc limit 6"""


@dataclass(frozen=True)
class Answers:
    """One round of answers, each over its own cut."""

    counts: pa.Table
    last_minute: pa.Table
    ohlc: pa.Table
    receipt: str | None

    @property
    def rows(self) -> tuple[int, int, int]:
        """Rows in the lake, in the tail, and in the table: the third is the sum."""
        (row,) = self.counts.to_pylist()
        return row["lake"], row["tail"], row["all"]


def ask_all(connection: Any, table: str) -> Answers:
    """One round: four statements, the errors are those of `highwater.sql.connect`."""
    counts, last_minute, ohlc = (
        _ask(connection, question.format(table=table)) for question in (COUNTS, LAST_MINUTE, OHLC)
    )
    return Answers(counts, last_minute, ohlc, receipt_of(counts.schema))


def _ask(connection: Any, statement: str) -> pa.Table:
    with asked(connection, statement) as reader:
        return reader.read_all()


def line(answers: Answers) -> str:
    """A round in one line."""
    lake, tail, total = answers.rows
    symbols = ", ".join(
        f"{row['symbol']} {row['trades']:,} at {row['vwap']:,.2f}"
        for row in answers.last_minute.to_pylist()
    )
    return (
        f"{total:,} rows = {lake:,} lake + {tail:,} tail"
        f" | last minute: {symbols or 'nothing'} | {receipt_line(answers.receipt)}"
    )


def page(answers: Answers) -> str:
    """A round as a screen of text."""
    blocks = [
        ("Rows, in one statement", aligned(answers.counts)),
        ("Last minute by symbol", aligned(answers.last_minute)),
        ("One-minute bars", aligned(answers.ohlc)),
        ("Receipt of the first answer", receipt_line(answers.receipt)),
    ]
    return "\n\n".join(f"{title}\n{text.rstrip()}" for title, text in blocks)


def receipt_line(receipt: str | None) -> str:
    """What the receipt says in short: the state, and per table its snapshot and how far behind."""
    if receipt is None:
        return "no receipt"
    found = json.loads(receipt)
    tables = [
        f"{name} at snapshot {table.get('snapshot_id')}, {table.get('lag_messages')} messages"
        f" and {table.get('lag_s')} s behind"
        for name, table in found.get("tables", {}).items()
    ]
    return "; ".join([str(found.get("state")), *tables])


def clients(uri: str, table: str) -> str:
    """What to copy into another terminal."""
    return f"""\
Connect to {uri} while this runs:

  highwater sql --uri {uri} "select count(*) from {table}"

  # Python (ADBC)
  import adbc_driver_flightsql.dbapi as flight_sql
  connection = flight_sql.connect("{uri}", autocommit=True)
  cursor = connection.cursor()
  cursor.execute("select symbol, count(*) as trades from {table} group by symbol")
  print(cursor.fetch_arrow_table())

  # DuckDB, over the record batch reader of the same connection
  import duckdb
  cursor.execute("select * from {table}")
  answer = cursor.fetch_record_batch()
  duckdb.sql("select symbol, avg(price) from answer group by symbol").show()
"""  # noqa: S608 - text to read
