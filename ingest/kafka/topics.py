"""What is asked of a broker as a client: whether it answers, and topics."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as Spec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from contract.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.clock import Clock

_TIMEOUT_S = 5.0
_READY_TIMEOUT_S = 30.0
_POLL_S = 0.05
# librdkafka's own lines about a broker that is away would bury ours.
SILENT = logging.getLogger("librdkafka")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


def answers(bootstrap: str) -> bool:
    """Whether a broker answers at this address."""
    with contextlib.suppress(KafkaException):
        return bool(_admin(bootstrap).list_topics(timeout=1.0).brokers)
    return False


def create_topic(
    bootstrap: str,
    name: str,
    partitions: int,
    clock: Clock,
    config: Mapping[str, str] | None = None,
) -> bool:
    """Create a topic with one replica and wait until it is usable; False if it exists already.

    Raises OperatorError if Kafka refuses, UnavailableError if its partitions do not answer.
    """
    admin = _admin(bootstrap)  # it must outlive its answers
    topic = NewTopic(name, partitions, 1, config=dict(config or {}))
    try:
        admin.create_topics([topic])[name].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
            return False
        raise OperatorError(f"topic {name} was not created: {error.args[0].str()}") from error
    topic_ends(bootstrap, name, partitions, clock)
    return True


def topic_ends(bootstrap: str, name: str, partitions: int, clock: Clock) -> list[int]:
    """The offset that the next message of each partition gets.

    A partition that was just created, or whose broker just started, is asked again for a while;
    then UnavailableError.
    """
    admin = _admin(bootstrap)
    newest = Spec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(name, number): newest for number in range(partitions)}
    until_s = clock.monotonic_s() + _READY_TIMEOUT_S
    while True:
        try:
            asked = admin.list_offsets(wanted, request_timeout=_TIMEOUT_S)
            return [asked[part].result(_TIMEOUT_S).offset for part in wanted]
        except (KafkaException, TimeoutError) as error:
            if clock.monotonic_s() > until_s:
                raise UnavailableError(f"topic {name} does not answer") from error
        clock.sleep(_POLL_S)


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap}, logger=SILENT)
