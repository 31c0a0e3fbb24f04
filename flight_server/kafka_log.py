"""The server's reader of a topic, over confluent-kafka."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from contract.client_log import ClientLog
from contract.log import LogReader, admin_settings, consumer_settings
from contract.logs import CLIENT_LOGGER

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLIENT_LOG = logging.getLogger(CLIENT_LOGGER)


def open_log(bootstrap_servers: str, topic: str, client_id: str) -> LogReader:
    """A reader of that topic for one thread; it connects when it is first used."""
    return _open(bootstrap_servers, topic, client_id, {})


def open_ends(bootstrap_servers: str, topic: str, client_id: str) -> LogReader:
    """The same for one who asks where the log ends: behind what open transactions hold back."""
    return _open(bootstrap_servers, topic, client_id, {"isolation.level": "read_uncommitted"})


def _open(
    bootstrap_servers: str, topic: str, client_id: str, settings: Mapping[str, Any]
) -> LogReader:
    quiet: dict[str, Any] = {"logger": _CLIENT_LOG}
    said = ClientLog(_CLIENT_LOG)
    consumer = Consumer(
        {**consumer_settings(bootstrap_servers, client_id), **settings}, logger=said
    )
    admin = AdminClient(admin_settings(bootstrap_servers), **quiet)
    return LogReader(consumer, admin, TopicPartition, TopicCollection, topic, said)
