"""The server's reader of a topic, over confluent-kafka."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from contract.client_log import ClientLog
from contract.log import LogReader, admin_settings, consumer_settings
from contract.logs import CLIENT_LOGGER

_CLIENT_LOG = logging.getLogger(CLIENT_LOGGER)


def open_log(bootstrap_servers: str, topic: str, client_id: str) -> LogReader:
    """A reader of that topic for one thread; it connects when it is first used."""
    quiet: dict[str, Any] = {"logger": _CLIENT_LOG}
    said = ClientLog(_CLIENT_LOG)
    consumer = Consumer(consumer_settings(bootstrap_servers, client_id), logger=said)
    admin = AdminClient(admin_settings(bootstrap_servers), **quiet)
    return LogReader(consumer, admin, TopicPartition, TopicCollection, topic, said)
