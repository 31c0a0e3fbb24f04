"""Binance's public trade events as trade messages, schema v2. Pure."""

from __future__ import annotations

import json
import re
import uuid

from ingest.feeds.message import Message, encode

_NAMESPACE = uuid.UUID("2f8a7a4e-6f0b-5d5c-9b0e-5b1f3f0c9d11")
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,8})?")
# The quote currency is the end of a symbol; longer names first, so that USDT is not taken for T.
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "GBP", "BRL")


def trade_message(event: str | bytes, now_us: int) -> Message | None:
    """The message of one event; None if it is not a trade event in Binance's form.

    The id follows from symbol and trade id: a trade that comes twice (a reconnect) is a duplicate.
    """
    try:
        found = json.loads(event)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("e") != "trade" or not _well_formed(found):
        return None
    symbol, number = found["s"], found["t"]
    trade = {
        "message_id": str(uuid.uuid5(_NAMESPACE, f"BINANCE-{symbol}-{number}")),
        "trade_id": f"BINANCE-{number}",
        "symbol": symbol,
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": found["T"] * 1000,
        "price": found["p"],
        "quantity": found["q"],
        "currency": next((quote for quote in _QUOTES if symbol.endswith(quote)), "UNKNOWN"),
        "side": "SELL" if found["m"] else "BUY",
        "trade_conditions": [],
        "source_sequence": number,
        "ingestion_timestamp": now_us,
        "platform_sequence": None,
        "vendor_data": {"is_buyer_maker": "true" if found["m"] else "false"},
    }
    return symbol.encode(), encode(trade)


def _well_formed(event: dict[str, object]) -> bool:
    numbers = (event.get("p"), event.get("q"))
    return (
        isinstance(event.get("s"), str)
        and bool(event["s"])
        and type(event.get("t")) is int
        and type(event.get("T")) is int
        and type(event.get("m")) is bool
        and all(isinstance(text, str) and _NUMBER.fullmatch(text) for text in numbers)
    )
