"""Made-up trades at any rate: symbols by Zipf's law, late, duplicate and poison messages. Pure.

All random choices are made once, for a ring of templates; a message is one of them with its
number and the time put in. That is what lets one process produce hundreds of thousands a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING

from ingest.feeds.message import SECOND_US, Message, encode

if TYPE_CHECKING:
    import random

_TEMPLATES = 16_384
_REMEMBERED = 1_024  # a duplicate repeats one of the messages before it, at most so far back
_EXCHANGES = ("XNAS", "XNYS", "BINANCE", "KRAKEN")
_NUMBER, _TIME = "%N", "%T"
_CENT = Decimal("0.01")
_LEAST = Decimal("1e-8")

# One of each kind that the decoder must turn into a dead letter.
POISON = (
    b"",
    b"not json",
    b'{"message_id":"half',
    b"[1, 2, 3]",
    b'"text"',
    b"\xff\xfe\x00\x01",
    b'{"message_id":"no-other-field"}',
    b'{"message_id":null,"symbol":7}',
    b'{"message_id":\n"newline"}',
)


@dataclass(frozen=True)
class Shape:
    """What the messages look like: shares are of all messages, 0 to 1."""

    symbols: int = 100
    zipf_exponent: float = 1.1
    late_share: float = 0.0
    late_max_s: float = 600.0
    duplicate_share: float = 0.0
    poison_share: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether each message is a new, good and punctual one."""
        return not (self.late_share or self.duplicate_share or self.poison_share)


class SyntheticFeed:
    """Endless trades; the same `rng` state, shape and prefix give the same messages.

    `prefix` begins each message id and tells the runs of one topic apart: 32 bits.
    """

    def __init__(self, shape: Shape, rng: random.Random, prefix: int) -> None:
        self._shape = shape
        self._rng = rng
        self._sent = 0
        self._templates = _templates(shape, rng, prefix & 0xFFFF_FFFF)
        self._recent: deque[Message] = deque(maxlen=_REMEMBERED)

    def take(self, count: int, now_us: int) -> list[Message]:
        """Exactly `count` messages."""
        if self._shape.plain:
            return self._plain(count, now_us)
        return [self._varied(now_us) for _ in range(count)]

    def close(self) -> None:
        """Nothing is held."""

    def _plain(self, count: int, now_us: int) -> list[Message]:
        first, self._sent = self._sent, self._sent + count
        templates = self._templates
        made: list[Message] = []
        for number in range(first, first + count):
            key, value = templates[number % _TEMPLATES]
            made.append((key, value % (number, number, now_us, number, now_us)))
        return made

    def _varied(self, now_us: int) -> Message:
        draw, shape = self._rng.random(), self._shape
        if draw < shape.poison_share:
            return None, self._rng.choice(POISON)
        draw -= shape.poison_share
        if draw < shape.duplicate_share and self._recent:
            return self._rng.choice(self._recent)
        late_us = 0
        if draw - shape.duplicate_share < shape.late_share:
            late_us = int(self._rng.random() * shape.late_max_s * SECOND_US)
        message = self._plain(1, now_us - late_us)[0]
        self._recent.append(message)
        return message


def _templates(shape: Shape, rng: random.Random, prefix: int) -> list[tuple[bytes, bytes]]:
    names = [f"SYN{rank:05d}" for rank in range(1, shape.symbols + 1)]
    weights = accumulate(1 / rank**shape.zipf_exponent for rank in range(1, shape.symbols + 1))
    drawn = rng.choices(names, cum_weights=list(weights), k=_TEMPLATES)
    prices = {name: Decimal(rng.randrange(100, 50_000_000)) * _CENT for name in names}
    made = []
    for name in drawn:
        step = Decimal(rng.randrange(-10, 11)) * _CENT
        prices[name] = max(_CENT, prices[name] + step)
        made.append((name.encode(), _template(name, prices[name], rng, prefix)))
    return made


def _quantity(price: Decimal, rng: random.Random) -> Decimal:
    """For a notional from 1 to a million, every order of magnitude as often: it feeds all lanes."""
    notional = Decimal(f"{10 ** rng.uniform(0, 6):.2f}")
    return max(notional / price, _LEAST)


def _template(symbol: str, price: Decimal, rng: random.Random, prefix: int) -> bytes:
    """A bytes format that takes number, number, time, number, time."""
    trade: dict[str, object] = {
        "message_id": f"{prefix:08x}-0000-4000-8000-{_NUMBER}",
        "trade_id": f"SYN-{_NUMBER}",
        "symbol": symbol,
        "exchange": rng.choice(_EXCHANGES),
        "asset_class": "crypto",
        "timestamp": _TIME,
        "price": f"{price:.8f}",
        "quantity": f"{_quantity(price, rng):.8f}",
        "currency": "USDT",
        "side": rng.choice(("BUY", "SELL")),
        "trade_conditions": [],
        "source_sequence": _NUMBER,
        "ingestion_timestamp": _TIME,
        "platform_sequence": None,
        "vendor_data": {"is_buyer_maker": rng.choice(("true", "false"))},
    }
    written = encode(trade)
    for text, form in (
        (f'-{_NUMBER}","trade', b'-%012x","trade'),
        (f'"SYN-{_NUMBER}"', b'"SYN-%d"'),
    ):
        written = written.replace(text.encode(), form)
    return written.replace(f'"{_TIME}"'.encode(), b"%d").replace(f'"{_NUMBER}"'.encode(), b"%d")
