"""Settings of `highwater feed replay | synthetic | live`."""

from __future__ import annotations

from dataclasses import dataclass

from contract.settings import common, setting


@dataclass(frozen=True)
class FeedSettings:
    """What all feeds share."""

    kafka: str = common("kafka")
    topic: str = setting("trades", doc="Topic to write to; it must exist")
    count: int = setting(0, doc="Messages to send, 0 for no limit", unit="messages", minimum=0)
    seconds: float = setting(0.0, doc="Time to run, 0 for no limit", unit="s", minimum=0)
    linger_ms: float = setting(
        5.0, doc="How long a message waits for others", unit="ms", minimum=0, maximum=10_000
    )
    queue_messages_max: int = setting(
        200_000,
        doc="Messages in memory; the feed waits beyond",
        unit="messages",
        minimum=1,
        maximum=10_000_000,
    )
    delivery_timeout_s: float = setting(
        60.0, doc="A message not taken by then has failed", unit="s", minimum=1, maximum=3_600
    )
    flush_timeout_s: float = setting(
        10.0, doc="How long the end waits for the rest", unit="s", minimum=0, maximum=3_600
    )
    progress_s: float = setting(5.0, doc="Time between progress lines", unit="s", minimum=0.1)
    seed: int | None = setting(
        None,
        doc="Decides ids and all random choices",
        default_doc="the time of the start",
        minimum=0,
    )


@dataclass(frozen=True)
class ReplaySettings(FeedSettings):
    """Send the messages of a file, as they are and then re-stamped."""

    file: str = setting(
        "",
        doc="Messages, one JSON object per line, plain or gzip",
        positional=True,
        default_doc="the packaged sample of 3,001 trades",
    )
    rate: float = setting(
        500.0, doc="Steady rate, 0 for as fast as possible", unit="messages/s", minimum=0
    )
    originals: bool = setting(True, doc="First send the messages as they are")
    loop: bool = setting(
        False, doc="Then send them again for ever, with new ids and the current time"
    )


@dataclass(frozen=True)
class SyntheticSettings(FeedSettings):
    """Send made-up trades."""

    rate: float = setting(
        10_000.0, doc="Steady rate, 0 for as fast as possible", unit="messages/s", minimum=0
    )
    symbols: int = setting(100, doc="Different symbols", unit="symbols", minimum=1, maximum=99_999)
    zipf_exponent: float = setting(
        1.1, doc="How uneven the symbols are, 0 for even", minimum=0, maximum=10
    )
    late_share: float = setting(0.0, doc="Share of late messages", minimum=0, maximum=1)
    late_max_s: float = setting(
        600.0, doc="How late they are at most", unit="s", minimum=0, maximum=31_536_000
    )
    duplicate_share: float = setting(0.0, doc="Share of repeated messages", minimum=0, maximum=1)
    poison_share: float = setting(0.0, doc="Share of broken messages", minimum=0, maximum=1)


@dataclass(frozen=True)
class LiveSettings(FeedSettings):
    """Send Binance's public trades as they happen."""

    url: str = setting("wss://stream.binance.com:9443/ws", doc="Address of the trade stream")
    symbols: tuple[str, ...] = setting(("BTCUSDT", "ETHUSDT", "SOLUSDT"), doc="Symbols to follow")
    idle_timeout_s: float = setting(
        60.0, doc="A silent connection is replaced after", unit="s", minimum=0.1
    )
    open_timeout_s: float = setting(
        10.0, doc="How long connecting may take", unit="s", minimum=0.1, maximum=300
    )
    backoff_base_s: float = setting(
        0.5, doc="First pause before connecting again; it doubles", unit="s", minimum=0.01
    )
    backoff_max_s: float = setting(60.0, doc="Longest such pause", unit="s", minimum=0.01)
