"""`highwater feed`: builds a feed and a sender from settings and runs one into the other."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from contract.clock import Clock, SystemClock
from contract.errors import RequestError
from contract.settings import load
from ingest.feeds.config import FeedSettings, LiveSettings, ReplaySettings, SyntheticSettings
from ingest.feeds.live import BinanceFeed
from ingest.feeds.producer import KafkaSender
from ingest.feeds.replay import ReplayFeed, read_lines
from ingest.feeds.runner import Limits, Runner
from ingest.feeds.synthetic import Shape, SyntheticFeed

if TYPE_CHECKING:
    from ingest.feeds.message import Feed

SAMPLE = Path(__file__).parent / "data" / "trades.ndjson.gz"
KINDS = ("live", "replay", "synthetic")

_USAGE = """\
usage: highwater feed KIND ...

  replay     the messages of a file, as they are and then re-stamped
  synthetic  made-up trades at a chosen rate
  live       Binance's public trades as they happen

highwater feed KIND --help shows its settings.
"""
_Report = Callable[[str], None]


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run `feed KIND ...` until its end or SIGINT/SIGTERM; 1 if a message was not delivered.

    Raises the errors of contract.errors for wrong settings, no topic, no broker.
    """
    kind, rest = (argv[0], argv[1:]) if argv else ("", [])
    if kind in {"--help", "-h"}:
        sys.stdout.write(_USAGE)
        return 0
    clock = SystemClock()
    if kind == "replay":
        replay = load(ReplaySettings, "feed replay", rest, environ)
        return _run(replay, replay.rate, lambda seed: replay_feed(replay, seed), clock)
    if kind == "synthetic":
        made = load(SyntheticSettings, "feed synthetic", rest, environ)
        return _run(made, made.rate, lambda seed: synthetic_feed(made, seed), clock)
    if kind == "live":
        live = load(LiveSettings, "feed live", rest, environ)
        return _run(live, 0.0, lambda seed: live_feed(live, seed, clock, _report), clock)
    raise RequestError(f"feed {kind or '(nothing)'}: the feeds are {', '.join(KINDS)}")


def replay_feed(settings: ReplaySettings, seed: int) -> ReplayFeed:
    """The feed of a file, or of the packaged sample."""
    lines = read_lines(Path(settings.file) if settings.file else SAMPLE)
    return ReplayFeed(lines, seed, originals=settings.originals, loop=settings.loop)


def synthetic_feed(settings: SyntheticSettings, seed: int) -> SyntheticFeed:
    """The feed of made-up trades."""
    shape = Shape(
        symbols=settings.symbols,
        zipf_exponent=settings.zipf_exponent,
        late_share=settings.late_share,
        late_max_s=settings.late_max_s,
        duplicate_share=settings.duplicate_share,
        poison_share=settings.poison_share,
    )
    return SyntheticFeed(shape, random.Random(seed), prefix=seed)


def live_feed(settings: LiveSettings, seed: int, clock: Clock, report: _Report) -> BinanceFeed:
    """The feed of an exchange."""
    if not settings.symbols:
        raise RequestError("--symbols names no symbol")
    return BinanceFeed(
        settings.url,
        settings.symbols,
        clock,
        random.Random(seed),
        report,
        backoff_base_s=settings.backoff_base_s,
        backoff_max_s=settings.backoff_max_s,
        idle_timeout_s=settings.idle_timeout_s,
        open_timeout_s=settings.open_timeout_s,
    )


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; main thread only."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    return stopping


def _run(settings: FeedSettings, rate: float, build: Callable[[int], Feed], clock: Clock) -> int:
    stopping = stop_on_signals()
    seed = int(clock.wall_s() * 1000) if settings.seed is None else settings.seed
    feed = build(seed)
    sender = KafkaSender(
        settings.kafka,
        settings.topic,
        clock,
        queue_messages_max=settings.queue_messages_max,
        linger_ms=settings.linger_ms,
        timeout_s=settings.delivery_timeout_s,
    )
    sender.require_topic()
    runner = Runner(feed, sender, clock, stopping.is_set, _report, settings.progress_s)
    try:
        runner.run(Limits(rate, settings.count, settings.seconds))
    finally:
        feed.close()
        failed = sender.close(settings.flush_timeout_s)
    lost = f", {failed:,} not delivered ({sender.last_error})" if failed else ""
    _report(f"done: {sender.sent - failed:,} delivered{lost}")
    return 1 if failed else 0


def _report(line: str) -> None:
    sys.stderr.write(f"feed: {line}\n")
