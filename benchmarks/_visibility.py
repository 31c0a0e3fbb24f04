"""When each message was first seen, from the times at which offsets had been reached. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stamped:
    """Messages, parallel arrays: where they stand in the log, and when they were produced."""

    partitions: Integers
    offsets: Integers
    stamps_us: Integers

    def require_whole(self, ends: dict[int, int]) -> None:
        """Raise ValueError unless every offset below the ends is there exactly once."""
        for partition, end in ends.items():
            found = np.sort(self.offsets[self.partitions == partition])
            if not np.array_equal(found, np.arange(end)):
                raise ValueError(f"partition {partition}: {len(found)} rows of {end} messages")
        if len(self.offsets) != sum(ends.values()):
            raise ValueError("there are rows of partitions that the topic does not have")


def delays_us(messages: Stamped, notes: Integers, from_us: int) -> Integers:
    """From produced to seen, in microseconds, of messages produced at `from_us` or later.

    `notes`: shape (looks, 1 + partitions): a time, and the next offset of each partition that
    this look covered; in order of time.

    Raises ValueError if a message was never seen.
    """
    parts = []
    wanted = messages.stamps_us >= from_us
    for partition in range(notes.shape[1] - 1):
        mine = wanted & (messages.partitions == partition)
        reached = np.maximum.accumulate(notes[:, partition + 1])
        look = np.searchsorted(reached, messages.offsets[mine], side="right")
        if len(look) and look.max() >= len(notes):
            raise ValueError(f"messages of partition {partition} were never seen")
        parts.append(notes[look, 0] - messages.stamps_us[mine])
    return np.concatenate(parts)
