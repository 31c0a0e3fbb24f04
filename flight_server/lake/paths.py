"""How the path of a data file, as the manifest has it, is named to the engine and to the system.

A path in a manifest is literal text: a percent sign in it is a percent sign. The engine takes URLs
and decodes them once, so the literal path is encoded once more. A path that the engine would
understand differently is refused here, because the engine skips files that it doesn't find.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from contract.errors import UnsupportedError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PART_NUMBER = re.compile(r"#\d+$")


def url_of(path: str) -> str:
    """The engine's URL of the data file at `path`.

    Raises:
        UnsupportedError: the engine cannot be given this path without changing its meaning.
    """
    local = local_path(path)
    if local is not None:
        _check_key(local[1:])
        if _PART_NUMBER.search(local):
            raise UnsupportedError("a data file's name ends in '#' and a number")
        return "file://" + quote(local, safe="/")
    match = _SCHEME.match(path)
    if match is None or not match[2] or match[1].lower() == "file":
        raise UnsupportedError("a data file's location is neither absolute nor a URL with a bucket")
    key = path[match.end() :]
    _check_key(key)
    return f"{match[1]}://{match[2]}/{quote(key, safe='/')}"


def local_path(path: str) -> str | None:
    """The file's name on this machine, or None if it lies in an object store."""
    if path.startswith("/"):
        return path
    if path.startswith("file:"):
        rest = path.removeprefix("file:")
        rest = rest.removeprefix("//") if rest.startswith("///") else rest
        return rest if rest.startswith("/") and not rest.startswith("//") else None
    return None


def _check_key(key: str) -> None:
    if _CONTROL.search(key):
        raise UnsupportedError("a data file's name holds a control character")
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise UnsupportedError("a data file's path holds an empty, '.' or '..' segment")
