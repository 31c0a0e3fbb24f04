"""Errors by remedy: a class exists only where the caller acts differently.

HighwaterError
├── RequestError          the request is wrong: change it            (INVALID_ARGUMENT)
│   ├── NotFoundError     it names a thing that does not exist       (NOT_FOUND)
│   ├── ReadOnlyError     it wants to write                          (PERMISSION_DENIED)
│   ├── UnauthenticatedError  nobody known sends it: log in       (UNAUTHENTICATED)
│   └── UnsupportedError  it asks for what this product does not do  (UNIMPLEMENTED)
├── UnavailableError      nothing is wrong with it: try again        (UNAVAILABLE)
├── LimitError            a bound was reached: ask for less          (UNKNOWN, in words)
├── CancelledError        its caller went away or its time is over   (CANCELLED)
├── OperatorError         somebody must act on topic, table or setup (UNKNOWN, in words)
└── BugError              a broken invariant of our own              (INTERNAL)

The text of each is written for the person who reads it: what happened, and what to do. It never
holds a path of the server, a secret or a traceback.
"""

from __future__ import annotations


class HighwaterError(Exception):
    """Base of every error that this project raises on purpose."""


class RequestError(HighwaterError):
    """The request is wrong; the same request will fail again."""


class NotFoundError(RequestError):
    """The request names something that does not exist (any more)."""


class ReadOnlyError(RequestError):
    """The request wants to change something."""


class UnauthenticatedError(RequestError):
    """The request does not prove whose it is; the text says no more about that than it must."""


class UnsupportedError(RequestError):
    """The request is well formed and this product does not do it."""


class UnavailableError(HighwaterError):
    """The request is fine; the same request may succeed later."""


class LimitError(HighwaterError):
    """The request reached one of the server's bounds."""


class CancelledError(HighwaterError):
    """The caller cancelled the request, or its time is over."""


class OperatorError(HighwaterError):
    """Topic, table or installation are in a state that a person must resolve."""


class BugError(HighwaterError):
    """An invariant of this project does not hold."""
