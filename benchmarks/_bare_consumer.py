"""A consumer that does nothing but consume: the floor of freshness. A process of its own.

    python -m benchmarks._bare_consumer BOOTSTRAP TOPIC PARTITIONS COUNT RESULT

Says `ready` when it is assigned, ends after COUNT messages, and writes to RESULT (.npy) an int64
array (batches, 1 + PARTITIONS): wall time in microseconds, next offset of each partition.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

_BATCH = 10_000
_WAIT_S = 0.005


def main(bootstrap: str, topic: str, partitions: int, count: int, result: Path) -> None:
    """Consume and note when."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "highwater-bench-bare",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    consumer.poll(0)
    print("ready", flush=True)
    seen = [0] * partitions
    notes: list[list[int]] = []
    while sum(seen) < count:
        messages = consumer.consume(_BATCH, _WAIT_S)
        good = [(m.partition(), m.offset(), m.value()) for m in messages if not m.error()]
        for partition, offset, _ in good:
            if partition is not None and offset is not None:
                seen[partition] = offset + 1
        if not good:
            continue
        notes.append([time.time_ns() // 1_000, *seen])
    consumer.close()
    np.save(result, np.array(notes, dtype=np.int64))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
