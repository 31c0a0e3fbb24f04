"""As many distinct trades as a test wants, cheap to make and of any size."""

from __future__ import annotations

_TEXT = (
    '{"message_id":"%s-%d","trade_id":"T-%d","symbol":"BTCUSDT","exchange":"BINANCE",'
    '"asset_class":"crypto","timestamp":%d,"price":"39432.48000000","quantity":"0.00026300",'
    '"currency":"USDT","side":"SELL","trade_conditions":[],"source_sequence":%d,'
    '"ingestion_timestamp":1610064000279500,"platform_sequence":null,"vendor_data":%s}'
)
_FIRST_US = 1_610_064_000_000_000
POISON = b"not a trade"


def made_trades(first: int, count: int, prefix: str = "m", pad_bytes: int = 0) -> list[bytes]:
    """Trades number `first` and following, all of one day; `pad_bytes` more in each."""
    extra = '{"note":"%s"}' % ("x" * pad_bytes) if pad_bytes else "null"
    return [
        (_TEXT % (prefix, i, i, _FIRST_US + i, i, extra)).encode()
        for i in range(first, first + count)
    ]
