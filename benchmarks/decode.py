"""Messages per second of the decoder on one core, beside json.loads and pyarrow.json alone.

All contenders get the same real messages in the same batches, in turns. Times are CPU seconds of
the process over all its threads, so a busy machine next door changes little.

    python -m benchmarks.decode [--quick] [--seed 1]
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from benchmarks.harness import Report, Rounds, interleaved, main, require_equal
from contract.decode import Decoder
from contract.definition import load_definition
from contract.log import RawBatch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SAMPLE = Path(__file__).parents[1] / "ingest" / "feeds" / "data" / "trades.ndjson.gz"
BATCH = 10_000
SMALL_BATCH = 250
POISON_SHARE = 0.01
GOAL_PER_S = 300_000

TRADES = load_definition("trades")


def sample_messages(repeats: int) -> list[bytes]:
    """The real trades, `repeats` times over."""
    return gzip.decompress(SAMPLE.read_bytes()).splitlines() * repeats


def poisoned(values: list[bytes], share: float, chance: random.Random) -> list[bytes]:
    """The values with that share of them broken, each in one of six ways."""
    ways: list[Callable[[bytes], bytes]] = [
        lambda v: v[: len(v) // 2],
        lambda v: v.replace(b'"price":"', b'"price":"x', 1),
        lambda v: v.replace(b'"price":"', b'"price":"1000000', 1),
        lambda v: v.replace(b'"side":', b'"edge":', 1),
        lambda v: v.replace(b'"currency":"', b'"currency":"\xff', 1),
        lambda v: v.replace(b'"timestamp":', b'"timestamp":-', 1),
    ]
    return [chance.choice(ways)(v) if chance.random() < share else v for v in values]


def batches_of(values: list[bytes], size: int) -> list[RawBatch]:
    starts = range(0, len(values), size)
    return [raw_batch(values[start : start + size], start) for start in starts]


def raw_batch(values: list[bytes], start: int) -> RawBatch:
    n = len(values)
    return RawBatch([0] * n, list(range(start, start + n)), [1_000] * n, [None] * n, list(values))


def lz4_bytes(batch: RawBatch) -> int:
    """Size of a batch as a producer with lz4 sends it, without the few bytes of its header."""
    joined = b"".join(value for value in batch.values if value is not None)
    return int(pa.compress(joined, codec="lz4").size)


def decode(batches: list[RawBatch]) -> Callable[[], list[pa.RecordBatch]]:
    decoder = Decoder(TRADES)
    return lambda: [decoder.decode(batch).rows for batch in batches]


def loads(batches: list[RawBatch]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(v) for batch in batches for v in batch.values if v is not None]


def arrow(batches: list[RawBatch]) -> Callable[[], list[pa.Table]]:
    def run() -> list[pa.Table]:
        tables = []
        for batch in batches:
            joined = b"\n".join(v for v in batch.values if v is not None)
            options = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
            tables.append(pj.read_json(pa.BufferReader(joined), read_options=options))
        return tables

    return run


def check_same_trades(results: dict[str, Any]) -> None:
    """Every field of every message is what json.loads says; pyarrow.json saw the same ids."""
    messages: list[dict[str, Any]] = results["json_loads"]
    for name in ("decode", "decode_250"):
        rows = pa.Table.from_batches(results[name])
        for column in TRADES.columns:
            found = rows.column(column.name)
            if pa.types.is_timestamp(column.type):
                found = found.cast(pa.int64())
            require_equal(
                f"{name}: values of {column.name}",
                [_as_stored(column.type, message.get(column.name)) for message in messages],
                found.to_pylist(),
            )
    ids = [i for table in results["pyarrow_json"] for i in table.column("message_id").to_pylist()]
    require_equal("message ids", [message["message_id"] for message in messages], ids)


def _as_stored(kind: pa.DataType, value: Any) -> Any:
    if pa.types.is_decimal(kind):
        return Decimal(value)
    return sorted(value.items()) if isinstance(value, dict) else value


def check_poison(good: int) -> Callable[[dict[str, list[pa.RecordBatch]]], None]:
    def check(results: dict[str, list[pa.RecordBatch]]) -> None:
        rows = sum(batch.num_rows for batch in results["poison"])
        require_equal("numbers of rows beside poison", good, rows)
        lost = sum(pc.sum(batch.column("price")).as_py() is None for batch in results["all_poison"])
        require_equal("batches without a row", len(results["all_poison"]), lost)

    return check


def body(args: argparse.Namespace, report: Report) -> None:
    values = sample_messages(10 if args.quick else 40)
    rounds = 5 if args.quick else 11
    report.figure("messages", len(values))
    report.figure("message_bytes", sum(map(len, values)) / len(values))
    report.figure(
        "lz4_message_bytes", sum(map(lz4_bytes, batches_of(values, SMALL_BATCH))) / len(values)
    )
    clean = measure_clean(values, rounds)
    measure_poison(values, rounds, random.Random(args.seed), report)
    rates = {
        name: report.samples(name, samples, len(values), "messages")
        for name, samples in clean.items()
    }
    report.figure("decode_over_json_loads_ratio", clean.ratio("json_loads", "decode"))
    report.figure("decode_over_pyarrow_json_ratio", clean.ratio("pyarrow_json", "decode"))
    report.at_least("decode_messages_per_s", rates["decode"], GOAL_PER_S)


def measure_clean(values: list[bytes], rounds: int) -> Rounds:
    large = batches_of(values, BATCH)
    contenders: dict[str, Callable[[], Any]] = {
        "decode": decode(large),
        "decode_250": decode(batches_of(values, SMALL_BATCH)),
        "json_loads": loads(large),
        "pyarrow_json": arrow(large),
    }
    return interleaved(contenders, rounds, check_same_trades, time.process_time)


def measure_poison(values: list[bytes], rounds: int, chance: random.Random, report: Report) -> None:
    some = poisoned(values, POISON_SHARE, chance)
    every = poisoned(values, 1.0, chance)
    good = sum(a is b for a, b in zip(values, some, strict=True))
    contenders = {
        "poison": decode(batches_of(some, BATCH)),
        "all_poison": decode(batches_of(every, BATCH)),
    }
    samples = interleaved(contenders, min(rounds, 5), check_poison(good), time.process_time)
    report.samples("decode_poison_1pct", samples["poison"], len(values), "messages")
    report.samples("decode_poison_100pct", samples["all_poison"], len(values), "messages")


if __name__ == "__main__":
    sys.exit(main("decode", "Decoding speed on one core.", body))
