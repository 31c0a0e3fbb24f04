"""The log of one topic over confluent-kafka, with the sidecar's two additions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from contract.client_log import ClientLog
from contract.client_settings import admin_settings, consumer_settings, patient
from contract.log_reader import Clients, LogReader, TopicInfo
from ingest.ports import TopicState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from ingest.ports import TopicLook

_LOG = logging.getLogger(__name__)
_SAY_AGAIN_S = 10.0


class _Sparse(logging.Filter):
    """One line in ten seconds: while brokers are away the client writes twenty a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s = -_SAY_AGAIN_S

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._last_s < _SAY_AGAIN_S:
            return False
        self._last_s = record.created
        return True


class KafkaLog(LogReader):
    """`IngestLog`: a reader that also knows the log's end and leaves its offsets as a hint.

    The hint is the admin client's business: a consumer does not begin with a new assignment while
    a commit of its own is under way, and one that was lost with its broker may stay so for ever.
    """

    def __init__(self, clients: Clients, topic: str, group: str) -> None:
        super().__init__(clients, TopicPartition, TopicCollection, topic)
        self._group = group
        self._hinting: Future[ConsumerGroupTopicPartitions] | None = None

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """See `IngestLog`: what the last fetches said."""
        found = {}
        for partition in partitions:
            where = TopicPartition(self.topic, partition)
            bounds = self._consumer.get_watermark_offsets(where, cached=True)
            if bounds[1] >= 0:
                found[partition] = bounds[1]
        return found

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        """See `IngestLog`: sets the offsets of the group, which nobody reads back.

        Left out while the last ones are still on their way.
        """
        if self._hinting is not None and not self._hinting.done():
            return
        offsets = [TopicPartition(self.topic, p, o) for p, o in sorted(next_offsets.items())]
        wanted = ConsumerGroupTopicPartitions(self._group, offsets)
        try:
            futures = self._info.admin.alter_consumer_group_offsets([wanted])
        except KafkaException as error:
            _LOG.debug("topic %s: offsets for lag tools were not sent: %s", self.topic, error)
            return
        self._hinting = futures[self._group]


def open_log(bootstrap_servers: str, topic: str, group: str) -> tuple[KafkaLog, TopicLook]:
    """The log of that topic, and a look at it that may be called on other threads.

    `group`: the consumer group under which lag tools find the offsets.
    """
    client_log = logging.getLogger(f"{__name__}.{group}")
    if not client_log.filters:
        client_log.addFilter(_Sparse())
    settings = patient(consumer_settings(bootstrap_servers, group))

    def made() -> tuple[Consumer, ClientLog]:
        said = ClientLog(client_log)
        return Consumer(settings, logger=said), said

    def admin() -> AdminClient:
        return AdminClient(admin_settings(bootstrap_servers), logger=client_log)

    watched = TopicInfo(admin, TopicCollection, topic)

    def look() -> TopicState:
        return TopicState(watched.topic_id(), tuple(watched.partitions()))

    return KafkaLog(Clients(made, admin), topic, group), look
