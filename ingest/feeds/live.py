"""Adapter of Binance's public WebSocket: connects, reads, and connects again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from websockets.exceptions import InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from contract.errors import RequestError
from ingest.backoff import Backoff
from ingest.feeds.binance import trade_message

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from contract.clock import Clock
    from ingest.feeds.message import Message

_READ_S = 0.05  # how long one read waits: bounds what a stop has to wait for
_EVENT_BYTES_MAX = 64 * 1024
_EVENTS_QUEUED_MAX = 1_024  # beyond it the socket is not read, so the exchange's buffer fills


class BinanceFeed:
    """Trades of some symbols as they happen.

    A connection that is refused, drops, or is silent for `idle_timeout_s` is opened again after a
    pause that doubles from `backoff_base_s` up to `backoff_max_s`, each with up to half of it taken
    off at random, and starts small again after the first trade. What is not a trade event is
    counted in `ignored`.
    """

    def __init__(
        self,
        url: str,
        symbols: Sequence[str],
        clock: Clock,
        rng: random.Random,
        report: Callable[[str], None],
        *,
        backoff_base_s: float = 0.5,
        backoff_max_s: float = 60.0,
        idle_timeout_s: float = 60.0,
        open_timeout_s: float = 10.0,
    ) -> None:
        streams = "/".join(f"{symbol.lower()}@trade" for symbol in symbols)
        self._url = f"{url.rstrip('/')}/{streams}"
        self._clock = clock
        self._backoff = Backoff(rng, backoff_base_s, backoff_max_s)
        self._report = report
        self._idle_timeout_s = idle_timeout_s
        self._open_timeout_s = open_timeout_s
        self._open = contextlib.ExitStack()  # holds the connection
        self._connection: ClientConnection | None = None
        self._due_s = 0.0  # of the next attempt to connect, monotonic
        self._heard_s = 0.0  # of the last event, monotonic
        self.ignored = 0
        self.connects = 0

    def take(self, count: int, now_us: int) -> list[Message]:
        """At most `count` trades that arrived; waits for the first one for a moment.

        Raises RequestError if the address is not a WebSocket's.
        """
        if self._connection is None and not self._connect():
            self._clock.sleep(_READ_S)
            return []
        assert self._connection is not None
        taken: list[Message] = []
        try:
            while len(taken) < count:
                event = self._connection.recv(timeout=0 if taken else _READ_S)
                self._heard_s = self._clock.monotonic_s()
                message = trade_message(event, now_us)
                if message is None:
                    self.ignored += 1
                else:
                    self._backoff.reset()
                    taken.append(message)
        except TimeoutError:
            if self._clock.monotonic_s() - self._heard_s > self._idle_timeout_s:
                self._failed(f"no event for {self._idle_timeout_s:g} s")
        except (WebSocketException, OSError) as error:
            self._failed(str(error) or error.__class__.__name__)
        return taken

    def close(self) -> None:
        """Close the connection if there is one."""
        self._connection = None
        self._open.close()

    def _connect(self) -> bool:
        if self._clock.monotonic_s() < self._due_s:
            return False
        try:
            self._connection = self._open.enter_context(
                connect(
                    self._url,
                    open_timeout=self._open_timeout_s,
                    close_timeout=1.0,
                    max_size=_EVENT_BYTES_MAX,
                    max_queue=_EVENTS_QUEUED_MAX,
                )
            )
        except InvalidURI as error:
            raise RequestError(f"--url {self._url} is not the address of a WebSocket") from error
        except (WebSocketException, OSError) as error:
            self._failed(str(error) or error.__class__.__name__)
            return False
        self.connects += 1
        self._heard_s = self._clock.monotonic_s()
        self._report(f"connected to {self._url}")
        return True

    def _failed(self, reason: str) -> None:
        self.close()
        pause_s = self._backoff.next_s()
        self._due_s = self._clock.monotonic_s() + pause_s
        self._report(f"connection lost ({reason}); the next attempt is in {pause_s:.1f} s")
