"""The live feed against a WebSocket server on this machine that speaks the exchange's messages."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from contract.clock import SystemClock
from contract.errors import RequestError
from ingest.feeds.live import BinanceFeed
from ingest.kafka.ports import HOST, free_port

if TYPE_CHECKING:
    from ingest.feeds.message import Message

Script = Callable[[ServerConnection], None]


class Exchange:
    """Runs one script per connection, then the last one again."""

    def __init__(self, port: int, *scripts: Script) -> None:
        self.paths: list[str] = []
        self._scripts = list(scripts)
        self._server: Server = serve(self._handle, HOST, port)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        script(connection)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()


def event(number: int) -> str:
    return json.dumps(
        {"e": "trade", "E": 1700000000123, "s": "BTCUSDT", "t": number}
        | {"p": "39432.48000000", "q": "0.00026300", "T": 1700000000120, "m": False}
    )


def trades(first: int, count: int) -> Script:
    def script(connection: ServerConnection) -> None:
        for number in range(first, first + count):
            connection.send(event(number))

    return script


def then_silence(script: Script) -> Script:
    def both(connection: ServerConnection) -> None:
        script(connection)
        for _ in connection:  # until the other side closes
            pass

    return both


def then_torn(script: Script) -> Script:
    def both(connection: ServerConnection) -> None:
        script(connection)
        connection.socket.close()

    return both


def feed_at(port: int, said: list[str], **bounds: float) -> BinanceFeed:
    bounds = {"backoff_base_s": 0.01, "backoff_max_s": 0.05, **bounds}
    url = f"ws://{HOST}:{port}/ws"
    names = ("BTCUSDT", "ETHUSDT")
    return BinanceFeed(url, names, SystemClock(), random.Random(1), said.append, **bounds)


def numbers_until(feed: BinanceFeed, count: int) -> list[int]:
    """The numbers of the first `count` trades, within a deadline."""
    found: list[Message] = []
    until_s = time.monotonic() + 20
    while len(found) < count and time.monotonic() < until_s:
        found += feed.take(1_000, 1)
    return [json.loads(value)["source_sequence"] for _, value in found]


@pytest.fixture
def exchange() -> Iterator[Callable[..., int]]:
    """`exchange(*scripts)` starts one and gives its port."""
    started: list[Exchange] = []

    def start(*scripts: Script, port: int = 0) -> int:
        port = port or free_port()
        started.append(Exchange(port, *scripts))
        return port

    yield start
    for one in started:
        one.stop()


def test_trades_arrive_in_order_and_garbage_costs_nothing_else(
    exchange: Callable[..., int],
) -> None:
    def script(connection: ServerConnection) -> None:
        trades(0, 3)(connection)
        for garbage in ("", "[]", b"\x00\xff", '{"result":null,"id":1}', "{" * 1_000):
            connection.send(garbage)
        trades(3, 2)(connection)

    feed = feed_at(exchange(then_silence(script)), [])

    assert numbers_until(feed, 5) == [0, 1, 2, 3, 4]
    assert (feed.ignored, feed.connects) == (5, 1)
    feed.close()


def test_a_dropped_connection_is_opened_again_however_it_dropped(
    exchange: Callable[..., int],
) -> None:
    said: list[str] = []
    scripts = trades(0, 2), then_torn(trades(2, 2)), then_silence(trades(4, 2))
    feed = feed_at(exchange(*scripts), said)

    assert numbers_until(feed, 6) == [0, 1, 2, 3, 4, 5]
    assert feed.connects == 3
    assert sum("connection lost" in line for line in said) == 2
    feed.close()


def test_a_message_beyond_the_bound_costs_the_connection_and_no_more(
    exchange: Callable[..., int],
) -> None:
    def giant(connection: ServerConnection) -> None:
        connection.send(event(0))
        connection.send("x" * 1_000_000)

    feed = feed_at(exchange(giant, then_silence(trades(1, 1))), [])

    assert numbers_until(feed, 2) == [0, 1]
    feed.close()


def test_a_silent_connection_is_replaced(exchange: Callable[..., int]) -> None:
    feed = feed_at(exchange(then_silence(trades(0, 1))), [], idle_timeout_s=0.2)

    assert numbers_until(feed, 2) == [0, 0]
    assert feed.connects == 2
    feed.close()


def test_an_absent_exchange_is_tried_until_it_is_there(exchange: Callable[..., int]) -> None:
    said: list[str] = []
    port = free_port()
    feed = feed_at(port, said)
    until_s = time.monotonic() + 20
    while len(said) < 3 and time.monotonic() < until_s:
        assert feed.take(10, 1) == []

    exchange(then_silence(trades(7, 1)), port=port)

    assert numbers_until(feed, 1) == [7]
    assert all("connection lost" in line for line in said[:3])
    feed.close()


def test_an_address_that_is_no_web_socket_is_refused() -> None:
    feed = BinanceFeed("http://nowhere", ["A"], SystemClock(), random.Random(1), print)

    with pytest.raises(RequestError, match="--url"):
        feed.take(1, 1)
