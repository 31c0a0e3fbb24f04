"""Replay of a file of messages: first as they are, then in re-stamped passes. Pure.

A re-stamped message is the same trade (prices, quantities, sequence) with a new `message_id` and
the time of its sending as `timestamp` and `ingestion_timestamp`. Its id depends on the seed, the
pass and its place in the file only, so the same seed gives the same ids.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from typing import TYPE_CHECKING

from contract.errors import RequestError
from ingest.feeds.message import Message, encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_ID, _TIME, _INGESTED = "\x00id", 7_000_000_000_000_001, 7_000_000_000_000_002


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, plain or gzip; RequestError if it can't be read or has none."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise RequestError(f"{path.name} cannot be read: {error.__class__.__name__}") from error
    lines = [line for line in content.splitlines() if line]
    if not lines:
        raise RequestError(f"{path.name} holds no message")
    return lines


class ReplayFeed:
    """The messages of `lines`, `originals` first, then for ever if `loop`.

    A line that is no trade (bad JSON, no text symbol) is sent as it is in the first pass, without
    a key, and left out of the others. Raises RequestError if nothing would be left to loop over.
    """

    def __init__(
        self, lines: Sequence[bytes], seed: int, *, originals: bool = True, loop: bool = False
    ) -> None:
        trades = [_trade(line) for line in lines]
        self._originals = [(_key(trade), line) for trade, line in zip(trades, lines, strict=True)]
        self._templates = [_template(trade) for trade in trades if trade is not None]
        if loop and not self._templates:
            raise RequestError("no line of the file is a trade: there is nothing to loop over")
        self._seed = seed
        self._loop = loop
        self._pass = 0 if originals else 1
        self._next = 0

    def take(self, count: int, now_us: int) -> list[Message] | None:
        """The next messages in the order of the file; None after the last pass."""
        if self._pass > 0 and not self._loop:
            return None
        start, source = self._next, self._originals if self._pass == 0 else self._templates
        stop = min(start + count, len(source))
        if self._pass == 0:
            taken: list[Message] = list(self._originals[start:stop])
        else:
            taken = [self._stamped(index, now_us) for index in range(start, stop)]
        self._next = stop
        if stop == len(source):
            self._pass, self._next = self._pass + 1, 0
        return taken

    def close(self) -> None:
        """Nothing is held."""

    def _stamped(self, index: int, now_us: int) -> Message:
        key, parts = self._templates[index]
        stamps = {_ID: message_id(self._seed, self._pass, index), _TIME: now_us, _INGESTED: now_us}
        return key, b"".join(
            part if isinstance(part, bytes) else str(stamps[part]).encode() for part in parts
        )


def message_id(seed: int, restamped_pass: int, index: int) -> str:
    """The id of a re-stamped message, in the form of a UUID."""
    digest = hashlib.blake2b(f"{seed}:{restamped_pass}:{index}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


_Trade = dict[str, object]
_Template = tuple[
    bytes, list[bytes | str | int]
]  # key; pieces and the names of stamps between them


def _trade(line: bytes) -> _Trade | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    good = isinstance(found, dict) and isinstance(found.get("symbol"), str)
    return found if good else None


def _key(trade: _Trade | None) -> bytes | None:
    return None if trade is None else str(trade["symbol"]).encode()


def _template(trade: _Trade) -> _Template:
    marked = trade | {"message_id": _ID, "timestamp": _TIME, "ingestion_timestamp": _INGESTED}
    parts: list[bytes | str | int] = [encode(marked)]
    for stamp in (_ID, _TIME, _INGESTED):
        written = json.dumps(stamp).strip('"').encode()
        parts = [piece for part in parts for piece in _split(part, written, stamp)]
    return str(trade["symbol"]).encode(), parts


def _split(part: bytes | str | int, written: bytes, stamp: str | int) -> list[bytes | str | int]:
    if not isinstance(part, bytes) or written not in part:
        return [part]
    before, _, after = part.partition(written)
    return [before, stamp, after]
