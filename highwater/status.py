"""`highwater status`: asks sidecar and server how they are, and says it in a few lines.

Exit codes: 0 both are ready, 1 one is not, 2 one can't be asked.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contract.clock import SystemClock
from contract.errors import HighwaterError, RequestError, UnavailableError
from contract.settings import load, setting
from highwater.output import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY, NOT_READY, UNREACHABLE = 0, 1, 2
NOBODY = "none"
_HOST = "127.0.0.1"
_BODY_BYTES_MAX = 4 * 1024 * 1024
_COLUMNS = {
    "ingest": (
        "lag_messages",
        "last_commit_at",
        "buffered_rows",
        "data_files",
        "last_maintenance_at",
    ),
    "serve": ("state", "lag_messages", "lag_s", "tail_rows", "tail_bytes"),
}


@dataclass(frozen=True)
class StatusSettings:
    """Ask sidecar and server whether they are ready, and why not."""

    ingest: str = setting("31339", doc="Health port or URL of the sidecar; none leaves it out")
    serve: str = setting("31338", doc="Health port or URL of the server; none leaves it out")
    format: str = setting("text", doc="Form of the answer", choices=("text", "json"))
    timeout_s: float = setting(
        5.0, doc="Longest wait for each of them", unit="s", minimum=0.1, maximum=60
    )


def run(argv: list[str], environ: Mapping[str, str]) -> int:
    """Ask and print; the exit code. Raises RequestError for the settings."""
    settings = load(StatusSettings, "status", argv, environ)
    asked = {
        name: url_of(where, f"--{name}")
        for name, where in (("ingest", settings.ingest), ("serve", settings.serve))
        if where != NOBODY
    }
    if not asked:
        raise RequestError("status: nobody is left to ask")
    found: dict[str, Mapping[str, Any]] = {}
    failures: dict[str, str] = {}
    for name, url in asked.items():
        try:
            found[name] = document(url, name, settings.timeout_s)
        except HighwaterError as error:
            failures[name] = str(error)
    if settings.format == "json":
        print(json.dumps({**found, **{name: {"error": text} for name, text in failures.items()}}))
    else:
        now_s = SystemClock().wall_s()
        print("\n\n".join(page(d, now_s) for d in found.values()), end="\n" if found else "")
        for name, text in failures.items():
            print(f"{name}: {text}", file=sys.stderr)
    if failures:
        return UNREACHABLE
    return READY if all(d["ready"] for d in found.values()) else NOT_READY


def url_of(where: str, flag: str) -> str:
    """Where `/readyz` is, from a port, host:port or URL; RequestError if it is none of them."""
    if where.isdecimal():
        where = f"{_HOST}:{where}"
    scheme, found, rest = where.rpartition("://")
    host, _, port = rest.partition("/")[0].rpartition(":")
    if (found and scheme != "http") or not host or not port.isdecimal():
        raise RequestError(f"{flag} {where}: neither a port nor http://HOST:PORT")
    return f"http://{host}:{port}/readyz"


def document(url: str, name: str, timeout_s: float) -> Mapping[str, Any]:
    """What that process says of itself.

    Raises UnavailableError if nobody answers there, RequestError if it is somebody else.
    """
    where = url.removeprefix("http://").removesuffix("/readyz")
    try:
        body = _body(url, timeout_s)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ConnectionRefusedError):
            raise UnavailableError(
                f"connection refused at {where}: is `highwater {name}` running?"
            ) from error
        raise UnavailableError(f"no answer at {where} ({reason})") from error
    try:
        found = json.loads(body)
        said = found["process"]
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"what answers at {where} is not `highwater {name}`") from error
    if said != name:
        raise RequestError(f"what answers at {where} is `highwater {said}`, not `{name}`")
    checked: Mapping[str, Any] = found
    return checked


def page(found: Mapping[str, Any], now_s: float) -> str:
    """One process: whether it is ready, every reason, and the figures of its tables."""
    word = "ready" if found["ready"] else "NOT READY"
    lines = [f"{found['process']}: {word} for {_ago(found['since'], now_s)}"]
    for reason in found["reasons"]:
        where = f" [{reason['table']}]" if reason["table"] else ""
        since = _ago(reason["since"], now_s)
        lines.append(f"  {reason['code']}{where} for {since}: {reason['text']}")
    tables: Mapping[str, Mapping[str, Any]] = found["tables"]
    if tables:
        lines.append(aligned(_table(tables, _COLUMNS[found["process"]], now_s)).rstrip())
    return "\n".join(lines)


def _table(
    tables: Mapping[str, Mapping[str, Any]], columns: Sequence[str], now_s: float
) -> pa.Table:
    rows = []
    for name, figures in tables.items():
        row: dict[str, Any] = {"table": name}
        for column in columns:
            value = figures.get(column)
            if column.endswith("_at"):
                ago = "never" if value is None else f"{_ago(value, now_s)} ago"
                row[column.removesuffix("_at").replace("_", " ")] = ago
            else:
                row[column.replace("_", " ")] = value
        rows.append(row)
    return pa.Table.from_pylist(rows)


def _ago(iso: str, now_s: float) -> str:
    then_s = datetime.fromisoformat(iso).astimezone(UTC).timestamp()
    seconds = max(0.0, now_s - then_s)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _body(url: str, timeout_s: float) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout_s) as reply:
            return bytes(reply.read(_BODY_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            return error.read(_BODY_BYTES_MAX)
