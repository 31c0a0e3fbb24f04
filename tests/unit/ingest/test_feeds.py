"""The pure part of the feeds: what they make, how fast they may, when they end."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import RequestError
from ingest.feeds.binance import trade_message
from ingest.feeds.command import SAMPLE
from ingest.feeds.replay import ReplayFeed, message_id, read_lines
from ingest.feeds.runner import Limits, Runner, Schedule
from ingest.feeds.synthetic import POISON, Shape, SyntheticFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.feeds.message import Message

NOW_US = 1_800_000_000_000_000
LINES = read_lines(SAMPLE)
STAMPED = ("message_id", "timestamp", "ingestion_timestamp")
EVENT: dict[str, Any] = {
    "e": "trade",
    "E": 1700000000123,
    "s": "BTCUSDT",
    "t": 42,
    "p": "39432.48000000",
    "q": "0.00026300",
    "T": 1700000000120,
    "m": True,
}


class HandClock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_s(self) -> float:
        return NOW_US / 1e6 + self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


class ListSender:
    """Keeps what it is sent; each message costs `cost_s` of the clock."""

    def __init__(self, clock: HandClock, cost_s: float = 0.0) -> None:
        self.messages: list[Message] = []
        self.sent = 0
        self.failed = 0
        self.last_error = ""
        self._clock = clock
        self._cost_s = cost_s

    def send(self, messages: Sequence[Message], stopping: Callable[[], bool]) -> int:
        self._clock.sleep(self._cost_s * len(messages))
        self.messages += messages
        self.sent += len(messages)
        return len(messages)

    def queued(self) -> int:
        return 0


def body(message: Message) -> dict[str, Any]:
    found = json.loads(message[1])
    assert isinstance(found, dict)
    return found


def all_of(feed: ReplayFeed, step: int, limit: int) -> list[Message]:
    taken: list[Message] = []
    while len(taken) < limit:
        more = feed.take(min(step, limit - len(taken)), NOW_US)
        if more is None:
            break
        taken += more
    return taken


@settings(max_examples=10)
@given(st.integers(1, 5_000))
def test_a_replay_sends_the_file_as_it_is_once(step: int) -> None:
    messages = all_of(ReplayFeed(LINES, seed=1), step, 10_000)

    assert [value for _, value in messages] == LINES
    assert {key for key, _ in messages} == {b"BTCUSDT", b"XBTUSDT"}


def test_later_passes_have_new_ids_and_times_and_the_same_rest() -> None:
    lines = LINES[:50]
    messages = all_of(ReplayFeed(lines, seed=1, loop=True), 7, 150)
    restamped = [body(message) for message in messages[50:]]

    assert [value for _, value in messages[:50]] == lines
    assert len({trade["message_id"] for trade in map(body, messages)}) == 150
    for trade, line in zip(restamped, lines * 2, strict=True):
        assert trade["timestamp"] == trade["ingestion_timestamp"] == NOW_US
        original = json.loads(line)
        assert [*trade] == [*original]
        assert {k: v for k, v in trade.items() if k not in STAMPED} == {
            k: v for k, v in original.items() if k not in STAMPED
        }


def test_ids_of_later_passes_follow_from_the_seed() -> None:
    def ids(seed: int) -> list[str]:
        feed = ReplayFeed(LINES[:5], seed, originals=False, loop=True)
        return [body(message)["message_id"] for message in all_of(feed, 3, 10)]

    assert ids(1) == ids(1) == [message_id(1, p, i) for p in (1, 2) for i in range(5)]
    assert not set(ids(1)) & set(ids(2))


def test_a_line_that_is_no_trade_is_sent_as_it_is_and_not_repeated() -> None:
    lines = [b"garbage", LINES[0], b'{"symbol":7}']
    messages = all_of(ReplayFeed(lines, seed=1, loop=True), 2, 5)

    assert [value for _, value in messages[:3]] == lines
    assert [key for key, _ in messages] == [None, b"BTCUSDT", None, b"BTCUSDT", b"BTCUSDT"]
    with pytest.raises(RequestError, match="nothing to loop over"):
        ReplayFeed([b"garbage"], seed=1, loop=True)


def test_a_file_is_read_plain_or_compressed_or_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"a\n\nb\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b"a\nb"))
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "torn").write_bytes(gzip.compress(b"a\nb" * 100)[:-12])

    assert read_lines(tmp_path / "plain") == read_lines(tmp_path / "packed") == [b"a", b"b"]
    for name in ("empty", "torn", "missing"):
        with pytest.raises(RequestError, match=name):
            read_lines(tmp_path / name)


def test_synthetic_trades_have_the_form_of_the_sample() -> None:
    (made,) = SyntheticFeed(Shape(), random.Random(1), prefix=0xABCD).take(1, NOW_US)
    sample, trade = json.loads(LINES[0]), body(made)

    assert [*trade] == [*sample]
    assert {k: type(v) for k, v in trade.items()} == {k: type(v) for k, v in sample.items()}
    assert trade["message_id"] == "0000abcd-0000-4000-8000-000000000000"
    assert trade["timestamp"] == trade["ingestion_timestamp"] == NOW_US
    assert made[0] == trade["symbol"].encode()
    assert 300 < len(made[1]) < 500


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 40), st.booleans())
def test_synthetic_trades_follow_from_the_seed_in_any_portions(
    seed: int, step: int, varied: bool
) -> None:
    share = 0.2 if varied else 0.0
    shape = Shape(symbols=3, late_share=share, duplicate_share=share, poison_share=share)
    one, other = (SyntheticFeed(shape, random.Random(seed), prefix=seed) for _ in range(2))

    portions = [message for _ in range(3) for message in one.take(step, NOW_US)]

    assert portions == other.take(3 * step, NOW_US)


def test_ids_are_unique_beyond_one_round_of_templates() -> None:
    messages = SyntheticFeed(Shape(symbols=5), random.Random(1), prefix=1).take(40_000, NOW_US)

    assert len({body(message)["message_id"] for message in messages}) == 40_000


def test_symbols_are_as_uneven_as_zipf_says() -> None:
    def counts(exponent: float) -> Counter[bytes | None]:
        shape = Shape(symbols=10, zipf_exponent=exponent)
        feed = SyntheticFeed(shape, random.Random(1), prefix=1)
        return Counter(key for key, _ in feed.take(16_384, NOW_US))

    uneven, even = counts(1.0), counts(0.0)

    assert set(uneven) == set(even)
    assert len(even) == 10
    assert 1.6 < uneven[b"SYN00001"] / uneven[b"SYN00002"] < 2.4
    assert max(even.values()) / min(even.values()) < 1.3


def test_shares_of_late_repeated_and_broken_messages_are_kept() -> None:
    shape = Shape(late_share=0.1, late_max_s=60, duplicate_share=0.05, poison_share=0.02)
    messages = SyntheticFeed(shape, random.Random(1), prefix=1).take(20_000, NOW_US)

    poison = [value for _, value in messages if value in POISON]
    good = [body(message) for message in messages if message[1] not in POISON]
    late = [trade for trade in good if trade["timestamp"] < NOW_US]
    assert 300 < len(poison) < 500
    assert set(poison) == set(POISON)
    assert 800 < len(good) - len({trade["message_id"] for trade in good}) < 1_200
    assert 1_800 < len(late) < 2_300
    assert min(trade["timestamp"] for trade in late) >= NOW_US - 60_000_000


def test_an_exchange_event_becomes_a_trade() -> None:
    message = trade_message(json.dumps(EVENT), NOW_US)
    assert message is not None
    trade, sample = body(message), json.loads(LINES[0])

    assert message[0] == b"BTCUSDT"
    assert {k: type(v) for k, v in trade.items()} == {k: type(v) for k, v in sample.items()}
    assert trade | {"message_id": ""} == sample | {
        "message_id": "",
        "trade_id": "BINANCE-42",
        "timestamp": 1700000000120000,
        "ingestion_timestamp": NOW_US,
        "source_sequence": 42,
    }


def test_the_same_trade_has_the_same_id_and_another_one_another() -> None:
    def id_of(**changes: object) -> str:
        message = trade_message(json.dumps(EVENT | changes), NOW_US)
        assert message is not None
        return str(body(message)["message_id"])

    assert id_of() == id_of(E=1) != id_of(t=43) != id_of(s="ETHUSDT")


@pytest.mark.parametrize(
    "event",
    [
        b"\xff",
        "",
        "[]",
        '{"result":null,"id":1}',
        *(
            json.dumps(EVENT | change)
            for change in (
                {"e": "kline"},
                {"s": ""},
                {"s": 1},
                {"t": "42"},
                {"t": True},
                {"T": None},
                {"p": "free"},
                {"p": 1.5},
                {"q": "1e5"},
                {"q": "0.123456789"},
                {"m": 1},
            )
        ),
    ],
)
def test_what_is_no_trade_event_is_none(event: str | bytes) -> None:
    assert trade_message(event, NOW_US) is None


@given(st.text() | st.binary())
def test_no_text_of_an_exchange_raises(event: str | bytes) -> None:
    assert trade_message(event, NOW_US) is None


@given(st.floats(1, 100_000), st.lists(st.floats(0, 0.4), max_size=30))
def test_a_schedule_is_never_ahead_and_catches_up(rate: float, pauses_s: list[float]) -> None:
    schedule, now_s, sent = Schedule(rate, 0.0), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        while due := schedule.due(now_s):
            schedule.took(due)
            sent += due
        assert sent <= now_s * rate + 1e-3
        assert sent >= now_s * rate - 1.01


def test_time_lost_beyond_half_a_second_is_not_made_up_in_a_burst() -> None:
    schedule = Schedule(100.0, 0.0)

    assert schedule.due(10.0) == 51
    schedule.took(51)
    assert schedule.due(10.0) == 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(rate=1_000, seconds=2), 2_000),
        (Limits(rate=1_000, count=300), 300),
        (Limits(count=5_001), 5_001),
    ],
)
def test_a_run_ends_at_its_limit(limits: Limits, expected: int) -> None:
    clock = HandClock()
    lines: list[str] = []
    sender = ListSender(clock)
    feed = SyntheticFeed(Shape(), random.Random(1), prefix=1)

    Runner(feed, sender, clock, lambda: False, lines.append, progress_s=1.0).run(limits)

    assert abs(sender.sent - expected) <= (5 if limits.seconds else 0)
    assert all("/s" in line for line in lines)


def test_a_run_ends_with_its_feed_or_when_told() -> None:
    clock = HandClock()
    finite, told = ListSender(clock), ListSender(clock, cost_s=0.001)

    Runner(ReplayFeed(LINES, 1), finite, clock, lambda: False, print).run(Limits())
    endless = SyntheticFeed(Shape(), random.Random(1), prefix=1)
    Runner(endless, told, clock, lambda: told.sent >= 4_000, lambda _: None).run(Limits())

    assert [value for _, value in finite.messages] == LINES
    assert told.sent == 4_000
