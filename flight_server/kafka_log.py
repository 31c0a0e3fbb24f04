"""The server's reader of a topic, over confluent-kafka."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from contract.client_log import ClientLog
from contract.client_settings import admin_settings, consumer_settings
from contract.log_reader import Clients, LogReader
from contract.logs import CLIENT_LOGGER

_CLIENT_LOG = logging.getLogger(CLIENT_LOGGER)


def open_log(bootstrap_servers: str, topic: str, client_id: str) -> LogReader:
    """A reader of that topic for one thread; it connects when it is first used."""
    return _open(bootstrap_servers, topic, consumer_settings(bootstrap_servers, client_id))


def open_ends(bootstrap_servers: str, topic: str, client_id: str) -> LogReader:
    """The same for one who asks where the log ends: behind what open transactions hold back.

    It is not made for polling, so it must be silent: its lines would wait for a poll, for ever.
    """
    settings = consumer_settings(bootstrap_servers, client_id)
    del settings["debug"]
    settings |= {"isolation.level": "read_uncommitted", "log_level": 0}
    return _open(bootstrap_servers, topic, settings)


def _open(bootstrap_servers: str, topic: str, settings: dict[str, Any]) -> LogReader:
    def made() -> tuple[Consumer, ClientLog]:
        said = ClientLog(_CLIENT_LOG)
        return Consumer(settings, logger=said), said

    def admin() -> AdminClient:
        return AdminClient(admin_settings(bootstrap_servers), logger=_CLIENT_LOG)

    return LogReader(Clients(made, admin), TopicPartition, TopicCollection, topic)
