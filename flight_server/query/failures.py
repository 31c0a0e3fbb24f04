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
    r"Object (?:Store error|at location)|No such file|object store", re.IGNORECASE
)
_LIMIT = re.compile(r"Resources exhausted|Failed to allocate|memory limit", re.IGNORECASE)
_SHARE = re.compile(r"pool_size: ([\d.]+ \w+)")
_OPERATOR = re.compile(r"for (\w+)(?:\[\d+\])? with")
# By the system's own numbers: a statement may hold any words.
_DESCRIPTORS = re.compile(r"\(os error 2[34]\)")  # ENFILE, EMFILE
_NO_ROOM = re.compile(r"\(os error (?:28|122)\)")  # ENOSPC, EDQUOT
_BUG = re.compile(r"Internal error|panicked|PanicException|Join Error", re.IGNORECASE)


def from_engine(error: BaseException) -> HighwaterError:
    """The project's error for what the engine raised; its words are kept, paths are not."""
    if isinstance(error, HighwaterError):
        return error
    text = str(error)
    if (exhausted := _exhausted(text)) is not None:
        return exhausted
    if _MISSING_DATA.search(text):
        return UnavailableError("a data file of the pinned snapshot cannot be read; try again")
    if _BUG.search(text):
        return BugError(_clean(text))
    if _WRITES.search(text):
        return ReadOnlyError(f"this server is read-only: {_clean(text)}")
    if "Statement not supported" in text:
        return RequestError(f"{_clean(text)}; settings belong to the session options of the client")
    return RequestError(_clean(text))


def _exhausted(text: str) -> HighwaterError | None:
    """The error for a resource that ran out; None if it was something else."""
    if _DESCRIPTORS.search(text):
        return UnavailableError(
            "the server has no file descriptor free: try again in a moment; its operator can raise "
            "the limit of open files"
        )
    if _NO_ROOM.search(text):
        return LimitError("the disk has no room for what the statement spills: ask for less")
    if _LIMIT.search(text):
        return LimitError(_over_its_share(text))
    return None


def _over_its_share(text: str) -> str:
    """In words of ours: the engine's would advise settings that a client does not have."""
    size, operator = _SHARE.search(text), _OPERATOR.search(text)
    return (
        f"the statement needs more memory than its share{f' of {size[1]}' if size else ''}"
        f"{f' (for {operator[1]})' if operator else ''}: ask for fewer rows, columns or groups at "
        "once, or again when fewer statements run, as the shares are larger then; the operator of "
        "the server sets --memory-limit-bytes"
    )


def _clean(text: str) -> str:
    text = _PREFIX.sub("", text.strip())
    return _PATH.sub("…", text)[:_TEXT_MAX_CHARS]
