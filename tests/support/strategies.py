"""Hypothesis strategies for messages, logs and markers, and builders for single ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import strategies as st

from contract.definition import load_definition
from contract.duplicates import CLOCK_START_US, Remembered
from contract.levels import Level
from contract.log import RawBatch
from contract.marker import Gap, Marker
from contract.table import LANES, OFFSET, PARTITION, TIMESTAMP, Lane, TableDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence

TRADES = load_definition("trades")
GAP_LANES = (LANES, (Lane.LOW,), (Lane.MEDIUM, Lane.LOW))

_TRADE: dict[str, Any] = {
    "message_id": "m-1",
    "trade_id": "t-1",
    "symbol": "BTCUSDT",
    "exchange": "BINANCE",
    "asset_class": "crypto",
    "timestamp": 1_610_064_000_278_000,
    "price": "39432.48000000",
    "quantity": "0.00026300",
    "currency": "USDT",
    "side": "SELL",
    "trade_conditions": [],
    "source_sequence": 553287559,
    "ingestion_timestamp": 1_610_064_000_279_500,
    "platform_sequence": None,
    "vendor_data": {"is_buyer_maker": "true"},
}


def trade(**changes: Any) -> dict[str, Any]:
    """A valid trade with these fields changed."""
    return {**_TRADE, **changes}


def trade_bytes(**changes: Any) -> bytes:
    """A valid trade's message with these fields changed."""
    return json.dumps(trade(**changes)).encode()


def trade_with(field: str, text: str) -> bytes:
    """A valid trade's message, whose `field` is written as this JSON text."""
    return trade_bytes(**{field: "@@"}).replace(b'"@@"', text.encode())


def trade_without(field: str) -> bytes:
    """A valid trade's message that lacks a field."""
    return json.dumps({k: v for k, v in _TRADE.items() if k != field}).encode()


def raw_batch(values: Sequence[bytes | None], start: int = 0) -> RawBatch:
    """These values as consecutive messages of partition 0, with keys and times of their own."""
    n = len(values)
    return RawBatch(
        partitions=[0] * n,
        offsets=list(range(start, start + n)),
        timestamps_us=[1_000 * (start + i) for i in range(n)],
        keys=[None if i % 3 == 0 else b"key-%d" % i for i in range(start, start + n)],
        values=list(values),
    )


def stored_rows(
    definition: TableDefinition, rows: Sequence[tuple[str, int, int, int]]
) -> pa.RecordBatch:
    """Message id, partition, offset and timestamp in us: all that the duplicate rule reads."""
    ids, partitions, offsets, timestamps = zip(*rows, strict=True) if rows else ([], [], [], [])
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(partitions, pa.int32()),
            pa.array(offsets, pa.int64()),
            pa.array(timestamps, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        ],
        names=[definition.message_id, PARTITION, OFFSET, TIMESTAMP],
    )


_texts = st.text(max_size=6)
_map_texts = st.one_of(
    st.none(),
    st.dictionaries(_texts, st.one_of(st.none(), _texts), max_size=4),
    st.dictionaries(st.integers(0, 400).map("k{}".format), _texts, min_size=3, max_size=12),
)


def decimal_texts() -> st.SearchStrategy[str]:
    """Plain numbers around the limits of decimal(18,8), as text; no exponents."""
    digits = st.text("0123456789", min_size=1, max_size=12)
    return st.builds(
        lambda sign, whole, fraction: sign + whole + (f".{fraction}" if fraction else ""),
        st.sampled_from(["", "", "-", "+"]),
        st.one_of(digits, st.sampled_from(["9999999999", "10000000000", "0"])),
        st.one_of(st.just(""), digits, st.just("99999999"), st.just("100000000000")),
    )


def good_trades() -> st.SearchStrategy[bytes]:
    """Valid messages, in many spellings."""
    fields = st.fixed_dictionaries(
        {},
        optional={
            "message_id": _texts,
            "symbol": _texts,
            "side": st.sampled_from(["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]),
            "timestamp": st.integers(0, 9_223_372_036_854_775),
            "price": st.decimals(-9_999_999_999, 9_999_999_999, places=8).map(str),
            "quantity": st.integers(-9_999_999_999, 9_999_999_999),
            "trade_conditions": st.lists(st.one_of(st.none(), _texts), max_size=3),
            "source_sequence": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "vendor_data": _map_texts,
        },
    )

    def spell(changes: dict[str, Any], ascii_only: bool, order: int, around: bytes) -> bytes:
        items = list(trade(**changes).items())
        items = items[order:] + items[:order]
        text = json.dumps(dict(items), ensure_ascii=ascii_only)
        return around[:1] + text.encode() + around[1:]

    whitespace = st.sampled_from([b"", b"", b"", b" ", b" \n", b"\n\n", b"\t\r\n"])
    return st.builds(spell, fields, st.booleans(), st.integers(0, 14), whitespace)


_JSON_BITS = (
    *(bytes([byte]) for byte in b'{}[],:"\\01-.e\n\r \t\0\x7f\xff'),
    *(b"\\u0041", b"\\ud800", b"\\udc00", b"E+1", b"null", b"true", b"false", b"NaN", b"-Infinity"),
    *(b'""', b'"x"', b"{}", b"[]", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"/**/"),
    *(b'"a":1,', b'"price":"1",', b'"vendor_data":{"z":"1"},', b'"vendor_data":null,'),
)

_JSON_SCALARS = (
    *("null", "true", "1", "-1", "0", "1.0", '"1"', '""', "[]", "{}", '["a"]', "[1]", '[["a"]]'),
    *('{"a":"b"}', '{"a":1}', '{"a":{}}', '{"a":[]}', '"\\ud800"', '"\\udc00x"', '"\\u0000"'),
    *('{"\\ud800":"x"}', '{"a":"\\udfff"}', '["\\ud800"]', '{"":""}', '{"a":"1","a":"2"}'),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e2", "1E-2"),
    *("9223372036854775", "9223372036854776", "1" * 50, "1" * 5000, "0." + "1" * 50),
    *('"NaN"', '"Infinity"', '"-"', '"."', '"1_0"', '" 1"', '"1 "', '"١"', '"0x1"', '"1e"'),
    *("NaN", "Infinity", "-Infinity", "1e400", '"1e5"', '"1e-9"', '"12345678901e-1"', '"BUY"'),
)

_WHOLE = trade_bytes()
_FOREIGN = (
    *(None, b"", b" ", b"\n", b"{}", b"[]", b"null", b"1", b'"text"', b"{", b"}", b"{\n}"),
    *(_WHOLE + _WHOLE, _WHOLE + b"," + _WHOLE, _WHOLE + b"\n" + _WHOLE, b"[" + _WHOLE + b"]"),
    *(b"\xef\xbb\xbf" + _WHOLE, _WHOLE.decode().encode("utf-16-le"), _WHOLE + b"\0"),
    *(b'{"message_id":"}', b'{"}', _WHOLE[:-2] + b"}", b"{" * 2000, b'{"a":' + b"[" * 5000),
    *(json.dumps(trade(), indent=1).encode(), _WHOLE + b"\x0c", b'{"a":"' + b"\xff" * 9),
)


@st.composite
def damaged_trades(draw: st.DrawFn) -> bytes:
    """Messages with some bytes cut out, put in, doubled or overwritten; a few stay valid."""
    value = draw(good_trades())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        length = draw(st.integers(0, 12))
        kind = draw(st.sampled_from(["cut", "insert", "double", "overwrite", "truncate"]))
        bits = b"".join(draw(st.lists(st.sampled_from(_JSON_BITS), min_size=1, max_size=2)))
        if kind == "cut":
            value = value[:at] + value[at + length :]
        elif kind == "insert":
            value = value[:at] + bits + value[at:]
        elif kind == "double":
            value = value[: at + length] + value[at:]
        elif kind == "overwrite":
            value = value[:at] + bits + value[at + length :]
        else:
            value = value[:at]
    return value


def wrong_trades() -> st.SearchStrategy[bytes]:
    """Well-formed JSON in which one field is unusual; some are valid."""
    numbers = decimal_texts()
    texts = st.one_of(st.sampled_from(_JSON_SCALARS), numbers, numbers.map('"{}"'.format))
    return st.builds(trade_with, st.sampled_from(sorted(_TRADE)), texts)


def foreign_values() -> st.SearchStrategy[bytes | None]:
    """What is no message of the table at all."""
    return st.one_of(
        st.sampled_from(_FOREIGN),
        st.binary(max_size=20),
        st.sampled_from(sorted(_TRADE)).map(trade_without),
        st.just(trade_bytes(unknown=1)),
    )


def messages() -> st.SearchStrategy[bytes | None]:
    """Everything above, in a mix where neighbours are of all kinds."""
    return st.one_of(good_trades(), damaged_trades(), wrong_trades(), foreign_values())


def markers() -> st.SearchStrategy[Marker]:
    """Any marker."""
    int64 = st.integers(-(2**63), 2**63 - 1)
    count = st.integers(0, 2**63 - 1)
    partition = st.integers(0, 2**31 - 1)
    lanes = len(LANES)
    by_lane = st.tuples(*[count] * lanes)
    remembered = st.builds(Remembered, count, st.one_of(st.just(CLOCK_START_US), int64))
    return st.builds(
        Marker,
        topic=st.text(min_size=1),
        topic_id=st.text(),
        epoch=count,
        commit_id=st.text(),
        next=st.dictionaries(partition, by_lane, max_size=4),
        remembered=st.dictionaries(partition, st.tuples(*[remembered] * lanes), max_size=4),
        rows=count,
        dead_letters=count,
        tombstones=count,
        duplicates=count,
        schema_id=count,
        rules_digest=st.text(),
        gaps=st.lists(
            st.builds(Gap, partition, count, count, st.text(), count, st.sampled_from(GAP_LANES)),
            max_size=3,
        ).map(tuple),
        level=st.sampled_from(Level),
    )
