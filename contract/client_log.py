"""What librdkafka says by itself: its errors go on to a logger, and to one line somebody listens.

A client names the topic of a fetch by its id, and a broker refuses an id that is no topic's any
more. But a client that is refused looks the topic up by its name again and goes on at the old
position: where a topic was deleted and made again and is longer than before, it hands out the new
one's messages without a word to the application. The one sign is a line among its debug output.
It is put into the queue that the messages go through, before the new id is used for a fetch, and
it stands there at the beginning too: so whoever reads the queue in order knows for each message
which topic it is of.
"""

from __future__ import annotations

import logging
import re

DEBUG_CONTEXT = "topic"  # librdkafka's setting `debug`: a few lines with each look at the metadata

_NEW_ID = re.compile(r"Topic (\S+) changed id from \S+ to (\S+)$")


class ClientLog:
    """Stands for the logger of one client. Its `log` runs while somebody polls that client."""

    def __init__(self, logger: logging.Logger) -> None:
        """`logger`: gets the lines from severity error up."""
        self._logger = logger
        self._topic_ids: dict[str, str] = {}

    def log(self, level: int, text: str, *args: object) -> None:
        """Called by the client for each of its lines."""
        if level >= logging.ERROR:
            self._logger.log(level, text, *args)
        elif (found := _NEW_ID.search(text % args if args else text)) is not None:
            self._topic_ids[found[1]] = found[2]

    def topic_id(self, topic: str) -> str:
        """Of the topic whose messages the client hands out now; empty if it did not say yet."""
        return self._topic_ids.get(topic, "")
