"""Log lines of the process: for people by default, as JSON where a machine collects them."""

from __future__ import annotations

import faulthandler
import json
import logging
import signal
import sys

_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"


CLIENT_LOGGER = "highwater.kafka_client"  # what librdkafka says by itself

_REMEMBERED_LINES = 256
_FIELDS = "highwater_fields"


def event(logger: logging.Logger, severity: int, name: str, /, **fields: object) -> None:
    """One line with named values: as `name key=value …` for people, as keys of the JSON object.

    None may be named as a key that every line has: `time`, `level`, `logger`, `message`, `trace`.
    """
    values = {key: value for key, value in fields.items() if value != ""}
    text = " ".join(f"{key}={_plain(value)}" for key, value in values.items())
    logger.log(severity, "%s %s", name, text, extra={_FIELDS: {"event": name, **values}})


def _plain(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if " " in text else text


class Unrepeated(logging.Filter):
    """Lets each line of a chatty library through once, whatever timing stands in brackets.

    A broker that is away makes librdkafka repeat itself several times a second; what it means for
    the product is said by the product's own lines and states.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, None] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new among the last few hundred."""
        text = record.getMessage().partition(" (after ")[0]
        if text in self._seen:
            return False
        self._seen[text] = None
        if len(self._seen) > _REMEMBERED_LINES:
            del self._seen[next(iter(self._seen))]
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            **getattr(record, _FIELDS, {}),
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start_logging(level: str, form: str) -> None:
    """Log to standard error from now on; `level` and `form` as in the settings.

    SIGUSR1 then writes there what every thread is doing, even one that hangs in a library.
    """
    faulthandler.register(signal.SIGUSR1, file=2)  # standard error, whoever replaced it
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_LINE))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("pyiceberg").setLevel(logging.WARNING)
    client = logging.getLogger(CLIENT_LOGGER)
    client.filters = [Unrepeated()]
