"""How the client commands prove who asks: files and prompts, never a secret on a command line."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import RequestError
from contract.settings import setting

if TYPE_CHECKING:
    from pathlib import Path

_ADBC = "adbc.flight.sql."
_FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class AccessSettings:
    """Part of the settings of each command that asks a server."""

    user: str = setting(
        "", doc="User to log in as; without --password-file the terminal is asked for the password"
    )
    password_file: Path | None = setting(
        None, doc="File whose first line is the password of --user"
    )
    token_file: Path | None = setting(
        None, doc="File whose first line is a bearer token, sent instead of a login"
    )
    tls_ca: Path | None = setting(
        None,
        doc="PEM file of the authorities that the server's certificate is checked with",
        default_doc="those of the system",
    )
    tls_cert: Path | None = setting(
        None, doc="PEM file of the client's certificate, for a server that asks for one (mTLS)"
    )
    tls_key: Path | None = setting(None, doc="PEM file of its key")
    tls_server_name: str = setting(
        "", doc="Name that the server's certificate must have", default_doc="the host of the URI"
    )


def driver_options(settings: AccessSettings) -> dict[str, str]:
    """The options of the ADBC driver. Raises RequestError for files that cannot be read."""
    if settings.token_file is not None and (settings.user or settings.password_file is not None):
        raise RequestError("--token-file takes the place of --user and --password-file")
    if settings.password_file is not None and not settings.user:
        raise RequestError("--password-file needs --user")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise RequestError("--tls-cert and --tls-key belong together")
    options = _credentials(settings)
    for name, flag, path in (
        ("tls_root_certs", "--tls-ca", settings.tls_ca),
        ("mtls_cert_chain", "--tls-cert", settings.tls_cert),
        ("mtls_private_key", "--tls-key", settings.tls_key),
    ):
        if path is not None:
            options[f"{_ADBC}client_option.{name}"] = _text(flag, path)
    if settings.tls_server_name:
        options[f"{_ADBC}client_option.tls_override_hostname"] = settings.tls_server_name
    return options


def checked_uri(uri: str) -> str:
    """`uri`, if it holds no secret; the error does not show it either."""
    if "@" in uri:
        raise RequestError(
            "--uri holds a user or a password, which everybody on this machine could read: use "
            "--user and --password-file"
        )
    return uri


def first_line(flag: str, path: Path) -> str:
    """The secret in a file; RequestError names `flag` and never the content."""
    line = _text(flag, path).partition("\n")[0].rstrip("\r")
    if not line:
        raise RequestError(f"{flag} {path}: its first line is empty")
    return line


def asked_password(prompt: str) -> str:
    """What somebody types at the terminal; RequestError if nobody is there."""
    if not sys.stdin.isatty():
        raise RequestError("nobody can be asked for the password here: use --password-file")
    return getpass.getpass(prompt)


def _credentials(settings: AccessSettings) -> dict[str, str]:
    if settings.token_file is not None:
        token = first_line("--token-file", settings.token_file)
        return {f"{_ADBC}authorization_header": f"Bearer {token}"}
    if not settings.user:
        return {}
    if settings.password_file is None:
        password = asked_password(f"password of {settings.user}: ")
    else:
        password = first_line("--password-file", settings.password_file)
    return {"username": settings.user, "password": password}


def _text(flag: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode()
    except OSError as error:
        raise RequestError(f"{flag} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise RequestError(f"{flag} {path}: it is not text") from None
