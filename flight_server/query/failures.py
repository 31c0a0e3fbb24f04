"""The engine's errors, sorted by remedy and cleaned of what a client must not see."""

from __future__ import annotations

import re

from contract.errors import (
    BugError,
    HighwaterError,
    LimitError,
    ReadOnlyError,
    RequestError,
    UnavailableError,
)

_TEXT_MAX_CHARS = 900

_PREFIX = re.compile(r"^(?:DataFusion error: |Error during planning: |External error: )+")
_PATH = re.compile(r"(?:file://|s3://)\S+|(?<![\w)])/(?:[\w.%=+@-]+/)+[\w.%=+@-]*")
_WRITES = re.compile(r"\b(?:DDL|DML) not supported: \w+|COPY")
_MISSING_DATA = re.compile(
    r"Object (?:Store error|at location)|No such file|object store|Too many open files",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"Resources exhausted|Failed to allocate|memory limit", re.IGNORECASE)
_DESCRIPTORS = re.compile(r"Too many open files|os error 24\b")
_NO_FILE = "a data file of the pinned snapshot cannot be read; try again"
_NO_DESCRIPTOR = (
    "the server has no file descriptor free: try again in a moment; its operator can raise the "
    "limit of open files"
)
_BUG = re.compile(r"Internal error|panicked|PanicException|Join Error", re.IGNORECASE)


def from_engine(error: BaseException) -> HighwaterError:
    """The project's error for what the engine raised; its words are kept, paths are not."""
    if isinstance(error, HighwaterError):
        return error
    text = str(error)
    if _LIMIT.search(text):
        return LimitError(f"the statement needs more memory than its share: {_clean(text)}")
    if _MISSING_DATA.search(text):
        return UnavailableError(_NO_DESCRIPTOR if _DESCRIPTORS.search(text) else _NO_FILE)
    if _BUG.search(text):
        return BugError(_clean(text))
    if _WRITES.search(text):
        return ReadOnlyError(f"this server is read-only: {_clean(text)}")
    if "Statement not supported" in text:
        return RequestError(f"{_clean(text)}; settings belong to the session options of the client")
    return RequestError(_clean(text))


def _clean(text: str) -> str:
    text = _PREFIX.sub("", text.strip())
    return _PATH.sub("…", text)[:_TEXT_MAX_CHARS]
