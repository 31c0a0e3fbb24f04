"""Messages that are decoded on another thread while the next poll is under way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from contract.decode import Decoded, Decoder
    from contract.log import Fetched
    from ingest.executor import Worker


class DecodeAhead:
    """What one poll of one reader brought: not counted anywhere until it is taken."""

    def __init__(self, decoder: Decoder, worker: Worker) -> None:
        self._decoder = decoder
        self._worker = worker
        self._coming: tuple[Fetched, Future[Decoded] | None] | None = None

    def put(self, fetched: Fetched) -> None:
        """Have it decoded; what came before was taken."""
        decoded = None
        if len(fetched.messages):
            decoded = self._worker.submit(partial(self._decoder.decode, fetched.messages))
        self._coming = (fetched, decoded)

    def is_done(self) -> bool:
        """Whether `take` would not wait."""
        return self._coming is None or self._coming[1] is None or self._coming[1].done()

    def take(self) -> tuple[Fetched, Decoded | None] | None:
        """It, decoded; None: there is nothing."""
        if self._coming is None:
            return None
        (fetched, decoded), self._coming = self._coming, None
        return fetched, None if decoded is None else decoded.result()
