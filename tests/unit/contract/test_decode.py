"""The decoder against an oracle that reads one message at a time with Python's own means."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract import decode
from contract.decode import Decoded, Decoder
from contract.definition import parse_definition
from contract.explain import Inspector
from contract.log import RawBatch
from contract.table import DEAD_SCHEMA, TableDefinition
from tests.support.strategies import (
    TRADES,
    damaged_trades,
    decimal_texts,
    foreign_values,
    good_trades,
    messages,
    raw_batch,
    trade_bytes,
    trade_with,
    trade_without,
    wrong_trades,
)

SAMPLE = Path(decode.__file__).parents[1] / "ingest" / "feeds" / "data" / "trades.ndjson.gz"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WHOLE = trade_bytes()


# --- the oracle: one message, one row or nothing ---------------------------------------------


class _Literal(str):
    """A number of JSON as it was written."""


class _NoRowError(Exception):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _NoRowError
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise _NoRowError


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _NoRowError
    value.encode()
    return value


def _whole(value: Any) -> int:
    if type(value) is not _Literal or not re.fullmatch("-?[0-9]{1,30}", value):
        raise _NoRowError
    return int(value)


def _long(value: Any) -> int:
    if not -(2**63) <= _whole(value) < 2**63:
        raise _NoRowError
    return _whole(value)


def _time(value: Any) -> datetime:
    if not 0 <= _whole(value) <= 9_223_372_036_854_775:
        raise _NoRowError
    return EPOCH + timedelta(microseconds=_whole(value))


def _list(value: Any) -> list[str | None]:
    if type(value) is not list:
        raise _NoRowError
    return [None if v is None else _text(v) for v in value]


def _map(value: Any) -> list[tuple[str, str]]:
    if type(value) is not dict:
        raise _NoRowError
    return sorted((_text(k), _text(v)) for k, v in value.items() if _text(k) != k or v is not None)


def _decimal(value: Any) -> Decimal:
    """decimal(18,8): 18 digits as written, and a value that 8 behind the point can hold."""
    if not isinstance(value, str) or not re.fullmatch(
        r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?", value, re.IGNORECASE
    ):
        raise _NoRowError
    mantissa = re.split("[eE]", value)[0].lstrip("+-")
    if len(mantissa.lstrip("0").replace(".", "")) > 18:
        raise _NoRowError
    number = Decimal(value)
    if abs(number) >= 10**10 or number != Decimal(f"{number:.8f}"):
        raise _NoRowError
    return number


READ = {
    "string": _text,
    "int64": _long,
    "timestamp[us, tz=UTC]": _time,
    "decimal128(18, 8)": _decimal,
    str(pa.list_(pa.string())): _list,
    str(pa.map_(pa.string(), pa.string())): _map,
}


def expected_row(value: bytes | None) -> dict[str, Any] | None:
    """The payload that this message is for the table `trades`, None: it is a dead letter."""
    if value is None or b"\n" in value.strip(b" \t\r\n"):
        return None
    try:
        message = json.loads(
            value.decode(),
            object_pairs_hook=_pairs,
            parse_int=_Literal,
            parse_float=_Literal,
            parse_constant=_no_constant,
        )
        if not isinstance(message, dict) or set(message) - {c.name for c in TRADES.columns}:
            return None
        row = {}
        for column in TRADES.columns:
            given_value = message.get(column.name)
            if given_value is None and column.required:
                return None
            read = READ[str(column.type)]
            row[column.name] = None if given_value is None else read(given_value)
            if column.values and row[column.name] not in column.values:
                return None
    except (_NoRowError, ValueError, RecursionError):
        return None
    return row


def rows_of(decoded: Decoded) -> dict[int, dict[str, Any]]:
    """Payload by offset."""
    names = [c.name for c in TRADES.columns]
    return {row["_offset"]: {name: row[name] for name in names} for row in decoded.rows.to_pylist()}


def check_shape(raw: RawBatch, decoded: Decoded, definition: TableDefinition = TRADES) -> None:
    """Each message once, in order, untouched where it was refused; the exact schemas."""
    decoded.rows.validate(full=True)
    decoded.rejects.validate(full=True)
    assert decoded.rows.schema.equals(definition.stored_schema)
    assert decoded.rejects.schema.equals(DEAD_SCHEMA)
    kept = decoded.rows.column("_offset").to_pylist()
    refused = decoded.rejects.to_pylist()
    assert kept == sorted(kept)
    assert [r["_offset"] for r in refused] == sorted(r["_offset"] for r in refused)
    assert sorted([*kept, *(r["_offset"] for r in refused)]) == raw.offsets
    first = raw.offsets[0] if raw.offsets else 0
    for reject in refused:
        i = reject["_offset"] - first
        assert (reject["value"], reject["key"]) == (raw.values[i], raw.keys[i])
        assert reject["topic"] == definition.topic
        assert reject["_timestamp"] == EPOCH + timedelta(microseconds=raw.timestamps_us[i])
        assert 0 < len(reject["reason"]) <= 300
        assert "\n" not in reject["reason"]
    for row in decoded.rows.select(["_partition", "_offset", "_timestamp"]).to_pylist():
        i = row["_offset"] - first
        assert row["_partition"] == raw.partitions[i]
        assert row["_timestamp"] == EPOCH + timedelta(microseconds=raw.timestamps_us[i])


# --- properties -----------------------------------------------------------------------------


@given(st.lists(messages(), max_size=30))
def test_every_message_is_the_row_or_dead_letter_that_the_oracle_says(
    values: list[bytes | None],
) -> None:
    raw = raw_batch(values, start=7)

    decoded = Decoder(TRADES).decode(raw)

    check_shape(raw, decoded)
    wanted = {7 + i: row for i, v in enumerate(values) if (row := expected_row(v)) is not None}
    assert rows_of(decoded) == wanted


@given(st.lists(messages(), max_size=24), st.integers(1, 9))
def test_a_batch_gives_what_its_messages_give_in_any_other_cut(
    values: list[bytes | None], size: int
) -> None:
    raw = raw_batch(values)
    whole = Decoder(TRADES).decode(raw)
    one_by_one, in_parts = Decoder(TRADES), Decoder(TRADES)

    singles = [one_by_one.decode(raw_batch([v], i)) for i, v in enumerate(values)]
    parts = [
        in_parts.decode(raw_batch(values[i : i + size], i)) for i in range(0, len(values), size)
    ]

    for pieces in (singles, parts):
        rows = [row for piece in pieces for row in piece.rows.to_pylist()]
        assert rows == whole.rows.to_pylist()
        refused = {r["_offset"] for piece in pieces for r in piece.rejects.to_pylist()}
        assert refused == set(whole.rejects.column("_offset").to_pylist())


@given(st.lists(messages(), max_size=8), st.lists(messages(), max_size=8))
def test_what_a_decoder_has_seen_before_changes_nothing(
    before: list[bytes | None], values: list[bytes | None]
) -> None:
    used = Decoder(TRADES)
    used.decode(raw_batch(before))

    decoded = used.decode(raw_batch(values))

    assert decoded == Decoder(TRADES).decode(raw_batch(values))


@given(st.one_of(damaged_trades(), wrong_trades(), foreign_values()))
@example(trade_with("price", '"1.000000000"'))
@example(trade_with("price", '"0e9"'))
@example(trade_with("vendor_data", '{"\\ud83d\\ude00":"x"}'))
def test_a_reason_is_given_only_for_what_the_parser_refuses_on_its_own(
    value: bytes | None,
) -> None:
    """This is what makes the verdict independent of who looked at the message first."""
    decoder = Decoder(TRADES)
    reason = Inspector(TRADES).look(value).reason
    keys = re.findall(rb'"((?:[^"\\]|\\.)*)"\s*:', value or b"")
    spelled = [json.loads(b'"%s"' % k, strict=False) for k in keys if _is_text(k)]
    options = decoder._parse_options({"vendor_data": dict.fromkeys(filter(_is_unicode, spelled))})

    table = decoder._parse_joined([value], options)
    accepted = table is not None and bool(decoder._valid(decoder._payload([table])).all())

    assert not (accepted and reason)


def _is_text(key: bytes) -> bool:
    try:
        json.loads(b'"%s"' % key, strict=False)
    except ValueError:
        return False
    return True


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(c) < 0xE000 for c in text)


@given(good_trades())
def test_a_good_message_has_no_reason_and_is_a_row(value: bytes) -> None:
    assert Inspector(TRADES).look(value).reason is None
    assert Decoder(TRADES).decode(raw_batch([value])).rows.num_rows == 1


@given(st.lists(decimal_texts(), min_size=1, max_size=20), st.booleans())
def test_a_price_is_exact_or_refused(texts: list[str], quoted: bool) -> None:
    values = [trade_with("price", f'"{t}"' if quoted else t) for t in texts]

    decoded = Decoder(TRADES).decode(raw_batch(values))

    check_shape(raw_batch(values), decoded)
    prices = {r["_offset"]: r["price"] for r in decoded.rows.to_pylist()}
    for i, text in enumerate(texts):
        if i in prices:
            assert prices[i] == Decimal(text)
        elif quoted:
            with pytest.raises(_NoRowError):
                _decimal(text)


# --- single cases ---------------------------------------------------------------------------

REFUSED: list[tuple[bytes | None, str]] = [
    (None, "tombstone"),
    (b"", "empty value"),
    (b" \r\n", "empty value"),
    (b"\xff\xfe", "invalid UTF-8 at byte 0"),
    (trade_bytes().replace(b"BTC", b"B\xc3C"), "invalid UTF-8 at byte"),
    (trade_with("symbol", '"a\nb"'), "newline inside the message, at byte 53"),
    (b"  " + WHOLE + b"\n" + WHOLE, f"newline inside the message, at byte {len(WHOLE) + 2}"),
    (WHOLE[:-1], "invalid JSON: "),
    (WHOLE[:-2] + b"}", "invalid JSON: "),
    (WHOLE + WHOLE, "invalid JSON: Extra data"),
    (WHOLE + b"," + WHOLE, "invalid JSON: Extra data"),
    (WHOLE + b"\0" + WHOLE, "invalid JSON: Extra data"),
    (b"\xef\xbb\xbf" + WHOLE, "invalid JSON: a byte order mark at its beginning"),
    (WHOLE.decode().encode("utf-16-le"), "invalid JSON: "),
    (b'{"a":' + b"[" * 100_000, "invalid JSON: nested too deeply"),
    (trade_with("price", "NaN"), "invalid JSON: NaN is no number of JSON"),
    (b"[]", "not a JSON object but a list"),
    (b"null", "not a JSON object but null"),
    (b"true", "not a JSON object but a boolean"),
    (b'"x"', "not a JSON object but text"),
    (b"1.50", "not a JSON object but the number 1.50"),
    (trade_bytes(colour="red"), "unknown field 'colour'"),
    (trade_bytes(**{"x" * 99: 1}), "unknown field 'xxxxxxxxxx"),
    (trade_without("side"), "field 'side': missing"),
    (trade_bytes(side=None), "field 'side': null, but required"),
    (trade_bytes(side="HOLD"), "field 'side': 'HOLD' is not one of BUY, SELL, SELL_SHORT, UNKNOWN"),
    (WHOLE[:-1] + b',"symbol":"X"}', "field 'symbol' is given twice"),
    (trade_with("vendor_data", '{"a":"1","a":"2"}'), "field 'a' is given twice"),
    (trade_bytes(symbol=5), "field 'symbol': the number 5 where text is expected"),
    (trade_bytes(symbol={}), "field 'symbol': an object where text is expected"),
    (trade_with("symbol", '"\\ud800"'), "field 'symbol': '\\ud800' holds half of a surrogate pair"),
    (trade_bytes(price="cheap"), "field 'price': 'cheap' is not a decimal number"),
    (trade_bytes(price=""), "field 'price': '' is not a decimal number"),
    (trade_bytes(price=" 1"), "field 'price': ' 1' is not a decimal number"),
    (trade_bytes(price="1_0"), "field 'price': '1_0' is not a decimal number"),
    (trade_bytes(price="١"), "field 'price': '١' is not a decimal number"),
    (trade_bytes(price="Infinity"), "field 'price': 'Infinity' is not a decimal number"),
    (trade_bytes(price=True), "field 'price': a boolean where a decimal number is expected"),
    (trade_bytes(price=[]), "field 'price': a list where a decimal number is expected"),
    (trade_bytes(price="10000000000"), "'10000000000' has more digits than decimal(18,8) holds"),
    (trade_bytes(price=10_000_000_000), "field 'price': '10000000000' has more digits"),
    (trade_bytes(price="1e10"), "field 'price': '1e10' has more digits"),
    (trade_bytes(price="0.123456789"), "field 'price': '0.123456789' has more digits"),
    (trade_bytes(price="1e-9"), "field 'price': '1e-9' has more digits"),
    (trade_bytes(price="1e99999999999999999999"), "field 'price': '1e99999999999999999999' has"),
    (trade_bytes(price="9" * 5000), "field 'price': '99999"),
    (trade_with("price", "9" * 5000), "field 'price': '99999"),
    (trade_bytes(timestamp=-1), "field 'timestamp': -1 us is outside the range of timestamps"),
    (trade_bytes(timestamp=9_223_372_036_854_776), "field 'timestamp': 9223372036854776 us is out"),
    (trade_with("timestamp", "1" * 5000), "field 'timestamp': the number 1111"),
    (trade_with("timestamp", "1.0"), "field 'timestamp': the number 1.0 where a whole number of"),
    (trade_bytes(timestamp="1"), "field 'timestamp': text where a whole number of microseconds"),
    (trade_bytes(timestamp=True), "field 'timestamp': a boolean where a whole number"),
    (trade_bytes(source_sequence=2**63), "field 'source_sequence': the number 9223372036854775808"),
    (trade_bytes(source_sequence="1"), "field 'source_sequence': text where a value of type int64"),
    (trade_bytes(source_sequence=True), "field 'source_sequence': a boolean where a value of type"),
    (trade_bytes(trade_conditions="x"), "field 'trade_conditions': text where a list of texts"),
    (trade_bytes(trade_conditions=[1]), "field 'trade_conditions': the number 1 inside where a li"),
    (
        trade_with("trade_conditions", '["\\udc00"]'),
        "field 'trade_conditions': '\\udc00' holds half",
    ),
    (trade_bytes(vendor_data=[]), "field 'vendor_data': a list where an object of texts is expect"),
    (trade_bytes(vendor_data={"a": 1}), "field 'vendor_data': the number 1 inside where an object"),
    (trade_with("vendor_data", '{"\\ud800":"x"}'), "field 'vendor_data': '\\ud800' holds half of"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_a_bad_message_alone_is_a_dead_letter_with_its_bytes_and_a_reason(
    value: bytes | None, reason: str
) -> None:
    values = [WHOLE, value, WHOLE]

    decoded = Decoder(TRADES).decode(raw_batch(values))

    check_shape(raw_batch(values), decoded)
    assert decoded.rows.column("_offset").to_pylist() == [0, 2]
    assert decoded.rejects.column("value").to_pylist() == [value]
    assert reason in decoded.rejects.column("reason")[0].as_py()


def test_all_bad_messages_in_one_batch_are_refused_for_the_same_reasons() -> None:
    values = [value for value, _ in REFUSED]

    decoded = Decoder(TRADES).decode(raw_batch(values))

    assert decoded.rows.num_rows == 0
    found = decoded.rejects.column("reason").to_pylist()
    assert all(wanted in reason for (_, wanted), reason in zip(REFUSED, found, strict=True))


def test_what_python_takes_and_the_parser_refuses_is_a_dead_letter_as_well() -> None:
    value = trade_with("price", '"0e100"')

    decoded = Decoder(TRADES).decode(raw_batch([WHOLE, value, WHOLE, WHOLE]))

    assert decoded.rows.column("_offset").to_pylist() == [0, 2, 3]
    assert decoded.rejects.column("reason").to_pylist() == [
        "not a message of this table: the parser refused it"
    ]


@pytest.mark.parametrize(
    "values",
    [
        [b'{"message_id":"}', b'{"}'],
        [WHOLE + WHOLE, WHOLE[:-1]],
        [WHOLE + WHOLE, b"{}"],
        [WHOLE[:20], WHOLE[20:]],
        [WHOLE + b"\n" + WHOLE, b""],
        [b"{", WHOLE[1:]],
        [WHOLE + WHOLE + WHOLE, WHOLE + b"\0}", b"{}"],
        [b'{"vendor_data":{"a":"b"}', b'{"c":"d"}}'],
        [b"[" + WHOLE, WHOLE + b"]"],
        [b"\xc3}", b"{\xa9"],
    ],
)
def test_values_that_only_together_look_like_messages_are_all_refused(values: list[bytes]) -> None:
    decoded = Decoder(TRADES).decode(raw_batch(values))

    assert decoded.rows.num_rows == 0
    assert decoded.rejects.column("value").to_pylist() == values


@pytest.mark.parametrize("around", [(b"", b"\n"), (b" \t", b""), (b"\r\n", b" \r\n")])
def test_whitespace_around_a_message_is_no_part_of_it(around: tuple[bytes, bytes]) -> None:
    values = [around[0] + trade_bytes(message_id=str(i)) + around[1] for i in range(200)]

    decoded = Decoder(TRADES).decode(raw_batch(values))

    assert decoded.rows.column("message_id").to_pylist() == [str(i) for i in range(200)]


def test_ten_megabytes_of_garbage_cost_nobody_else_anything() -> None:
    garbage = b'{"message_id":"' + b"\xf0\x9f\x98\x80" * 2_500_000
    keys = json.dumps({f"key-{i}": "v" for i in range(50_000)})
    values = [WHOLE, garbage, WHOLE, b"x" * 10_000_000, trade_with("vendor_data", keys), WHOLE]

    decoded = Decoder(TRADES).decode(raw_batch(values))

    assert decoded.rows.column("_offset").to_pylist() == [0, 2, 4, 5]
    assert decoded.rejects.column("value").to_pylist() == [garbage, values[3]]
    assert len(decoded.rows.column("vendor_data")[2]) == 50_000


def test_the_real_trades_are_all_rows() -> None:
    values = gzip.decompress(SAMPLE.read_bytes()).splitlines()

    decoded = Decoder(TRADES).decode(raw_batch(values))

    check_shape(raw_batch(values), decoded)
    assert decoded.rejects.num_rows == 0
    assert list(rows_of(decoded).values()) == [expected_row(v) for v in values]


def test_a_batch_larger_than_the_parser_takes_at_once_is_decoded() -> None:
    values: list[bytes | None] = [WHOLE] * 100_050

    decoded = Decoder(TRADES).decode(raw_batch(values))

    assert decoded.rows.num_rows == 100_050


def test_an_empty_batch_gives_two_empty_batches() -> None:
    decoded = Decoder(TRADES).decode(RawBatch())

    check_shape(RawBatch(), decoded)
    assert (decoded.rows.num_rows, decoded.rejects.num_rows) == (0, 0)


def test_one_bad_message_among_thousands_takes_only_itself_out() -> None:
    values: list[bytes | None] = [WHOLE] * 5_000
    values[4_321] = trade_bytes(price="x")

    decoded = Decoder(TRADES).decode(raw_batch(values))

    check_shape(raw_batch(values), decoded)
    assert decoded.rejects.column("_offset").to_pylist() == [4_321]


# --- maps -----------------------------------------------------------------------------------


def _maps(*texts: str) -> list[Any]:
    values = [trade_with("vendor_data", text) for text in texts]
    decoded = Decoder(TRADES).decode(raw_batch(values))
    assert decoded.rejects.num_rows == 0
    maps: list[Any] = decoded.rows.column("vendor_data").to_pylist()
    return maps


def test_more_map_keys_than_the_fast_path_learns_change_nothing() -> None:
    texts = [json.dumps({f"k{i}": "1", f"k{i * 7 % 300}": "2", "all": "3"}) for i in range(300)]
    decoder = Decoder(TRADES)

    for _ in range(2):
        decoded = decoder.decode(raw_batch([trade_with("vendor_data", t) for t in texts]))

        found = decoded.rows.column("vendor_data").to_pylist()
        assert found == [sorted(json.loads(t).items()) for t in texts]


def test_slices_with_very_many_map_keys_are_cut_until_they_fit() -> None:
    texts = [json.dumps({f"k{i}-{j}": "1" for j in range(700)}) for i in range(5)]

    assert _maps(*texts) == [sorted(json.loads(t).items()) for t in texts]


def test_null_and_empty_maps_are_different_and_null_values_are_left_out() -> None:
    found = _maps("null", "{}", '{"a":null}', '{"b":"2","a":"1"}', '{"a":"1","b":"2"}', '{"":""}')

    assert found == [
        None,
        [],
        [],
        [("a", "1"), ("b", "2")],
        [("a", "1"), ("b", "2")],
        [("", "")],
    ]


def test_map_keys_may_be_any_text() -> None:
    keys = ["a.b", "é", "\0", "\n", '"', "\\", "😀", "a" * 1_000, "[0]", "item", "price"]
    texts = [json.dumps({key: "x"}) for key in keys]

    assert _maps(*texts) == [[(key, "x")] for key in keys]


# --- other definitions ----------------------------------------------------------------------

EVERY_TYPE = parse_definition(
    """
name = "every_type"
topic = "every"
message_id = "id"
event_time = "at"
[[columns]]
name = "id"
type = "string"
required = true
[[columns]]
name = "at"
type = "timestamp"
required = true
[[columns]]
name = "flag"
type = "boolean"
[[columns]]
name = "ratio"
type = "double"
[[columns]]
name = "huge"
type = "decimal(38,0)"
[[columns]]
name = "small"
type = "decimal(3,3)"
[[columns]]
name = "kind"
type = "string"
values = ["a", "b"]
[[columns]]
name = "left"
type = "map<string,string>"
[[columns]]
name = "right"
type = "map<string,string>"
""",
    "every_type.toml",
)


def _decode_every_type(*fields: str) -> Decoded:
    values = [b'{"id":"x","at":1%s}' % (f",{f}".encode() if f else b"") for f in fields]
    decoded = Decoder(EVERY_TYPE).decode(raw_batch(values))
    check_shape(raw_batch(values), decoded, EVERY_TYPE)
    return decoded


def test_every_type_of_column_is_decoded() -> None:
    decoded = _decode_every_type(
        '"flag":true,"ratio":1.5e300,"huge":"%s","small":"-0.999"' % ("9" * 38),
        '"flag":null,"ratio":-0,"kind":null,"huge":-1,"small":0',
        '"kind":"b","left":{"a":"1"},"right":{"b":"2"}',
        "",
    )

    rows = decoded.rows.to_pylist()
    assert [r["flag"] for r in rows] == [True, None, None, None]
    assert [r["ratio"] for r in rows] == [1.5e300, 0.0, None, None]
    assert [r["huge"] for r in rows] == [Decimal("9" * 38), Decimal(-1), None, None]
    assert [r["small"] for r in rows] == [Decimal("-0.999"), Decimal(0), None, None]
    assert [r["kind"] for r in rows] == [None, None, "b", None]
    assert [(r["left"], r["right"]) for r in rows[2:]] == [
        ([("a", "1")], [("b", "2")]),
        (None,) * 2,
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ('"flag":1', "field 'flag': the number 1 where a value of type bool is expected"),
        ('"ratio":true', "field 'ratio': a boolean where a value of type double is expected"),
        ('"ratio":"1"', "field 'ratio': text where a value of type double is expected"),
        ('"small":"1"', "field 'small': '1' has more digits than decimal(3,3) holds"),
        ('"huge":"1.5"', "field 'huge': '1.5' has more digits than decimal(38,0) holds"),
        ('"huge":"1%s"' % ("0" * 38), "has more digits than decimal(38,0) holds"),
        ('"kind":"c"', "field 'kind': 'c' is not one of a, b"),
    ],
)
def test_a_wrong_value_of_any_type_is_refused(fields: str, reason: str) -> None:
    decoded = _decode_every_type("", fields)

    assert decoded.rows.num_rows == 1
    assert reason in decoded.rejects.column("reason")[0].as_py()


def test_a_table_without_maps_takes_whitespace_and_refuses_bad_messages() -> None:
    definition = parse_definition(
        """
        name = "plain"
        topic = "plain"
        message_id = "id"
        event_time = "at"
        columns = [
            {name = "id", type = "string", required = true},
            {name = "at", type = "timestamp", required = true},
        ]
        """,
        "plain.toml",
    )
    good, bad = b'{"id":"x","at":1}', b'{"id":"x"}'
    values = [good, good + b"\n", b" " + good, bad, b"x", bad + b"\n"]

    decoded = Decoder(definition).decode(raw_batch(values))

    check_shape(raw_batch(values), decoded, definition)
    assert decoded.rows.column("_offset").to_pylist() == [0, 1, 2]
