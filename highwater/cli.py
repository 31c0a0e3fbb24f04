"""Which sub-command runs which function, and how an error ends: one line, never a traceback.

Exit codes: 0 done, 1 it failed, 2 a setting, topic, table or installation
needs a person, 130 interrupted.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from contract.errors import HighwaterError, OperatorError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Command:
    """A sub-command: where its `run(argv)` or `run(argv, environ)` lives."""

    name: str
    module: str
    doc: str


COMMANDS = (
    Command("demo", "highwater.demo", "broker, feed, sidecar and server, with live answers"),
    Command("broker", "highwater.broker", "a real Apache Kafka on this machine"),
    Command("feed", "ingest.feeds.command", "trades for a topic: replay, live or synthetic"),
    Command("ingest", "ingest.__main__", "the sidecar: Kafka to Iceberg"),
    Command("maintain", "highwater.maintain", "compact, expire, remove unneeded files"),
    Command("serve", "flight_server.__main__", "the Flight SQL server"),
    Command("breaker", "highwater.breaker", "pin what level of load the sidecar acts by"),
    Command("status", "highwater.status", "are sidecar and server ready, and if not, why"),
    Command("simulate", "highwater.simulate.command", "both processes in virtual time, from seeds"),
    Command("audit", "highwater.audit.command", "proof of exact answers while things go wrong"),
    Command("cost", "highwater.cost.command", "what such a platform costs in a month"),
    Command("sql", "highwater.sql", "ask the server and print the answer"),
    Command("user", "highwater.user", "who may log in to the server, and what each may read"),
    Command("verify", "highwater.verify.command", "check that table, dead letters and topic fit"),
)


def available() -> list[Command]:
    """The commands of this installation."""
    return [command for command in COMMANDS if find_spec(command.module) is not None]


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run one command line; the exit code of the process."""
    try:
        return _dispatch(argv, environ)
    except (RequestError, OperatorError) as error:
        return _failed(error, 2)
    except HighwaterError as error:
        return _failed(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(argv: list[str], environ: Mapping[str, str]) -> int:
    name = argv[0] if argv else "--help"
    if name in {"--help", "-h", "help"}:
        print(usage())
        return 0
    if name in {"--version", "-V", "version"}:
        print(f"highwater {version('highwater')}")
        return 0
    commands = {command.name: command for command in available()}
    if name not in commands:
        near = get_close_matches(name, commands, n=1, cutoff=0.0)
        raise RequestError(f"there is no command {name}; the nearest is {near[0]}")
    run = importlib.import_module(commands[name].module).run
    takes_environ = len(inspect.signature(run).parameters) > 1
    return int(run(argv[1:], environ) if takes_environ else run(argv[1:]))


def usage() -> str:
    """What `highwater --help` prints."""
    lines = [f"  {command.name:<8} {command.doc}" for command in available()]
    return "\n".join(
        [
            "usage: highwater COMMAND ...",
            "",
            "One SQL table over Iceberg history and the live tail of its Kafka topic.",
            "",
            *lines,
            "",
            "highwater COMMAND --help shows its settings; docs/settings.md has all of them.",
        ]
    )


def _failed(error: HighwaterError, code: int) -> int:
    text = " ".join(str(error).split()) or error.__class__.__name__
    print(f"highwater: {text}", file=sys.stderr)
    return code
