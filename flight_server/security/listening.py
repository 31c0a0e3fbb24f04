"""Where the server may listen, and with which certificates: decided before it does."""

from __future__ import annotations

import ipaddress
import ssl
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

    from flight_server.security.config import SecuritySettings


@dataclass(frozen=True)
class Tls:
    """Contents of PEM files. With `client_ca`, clients must show a certificate of it."""

    cert: bytes
    key: bytes
    client_ca: bytes | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare == "localhost"


def location(host: str, port: int, tls: Tls | None) -> str:
    """The URI of a listener."""
    address = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"grpc{'+tls' if tls else ''}://{address}:{port}"


def asks_who(settings: SecuritySettings) -> bool:
    """Whether clients must prove who they are."""
    return settings.users_file is not None or settings.jwt_keys is not None


def warnings(settings: SecuritySettings, host: str) -> list[str]:
    """What must be said at the start. Raises OperatorError if it may not start like this."""
    _check_complete(settings)
    said = []
    missing = [
        what
        for what, there in (
            ("TLS (--tls-cert, --tls-key)", settings.tls_cert is not None),
            ("users (--users-file or --jwt-keys)", asks_who(settings)),
        )
        if not there
    ]
    if missing and not is_loopback(host):
        if not settings.insecure:
            raise OperatorError(
                f"--host {host} is not loopback, and there are no {' and no '.join(missing)}: set "
                "them up, listen on 127.0.0.1, or say --insecure"
            )
        said.append(
            f"INSECURE: listening on {host} without {' and without '.join(missing)}: whoever "
            "reaches this port or its network may read what the tables hold"
        )
    if settings.tls_key is not None and _open_to_all(settings.tls_key):
        said.append("--tls-key: every user of this machine may read the file")
    return said


def load_tls(settings: SecuritySettings) -> Tls | None:
    """The certificates, tried out; None without --tls-cert. Raises OperatorError with the flag."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    cert, key = _read("--tls-cert", settings.tls_cert), _read("--tls-key", settings.tls_key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_cert, settings.tls_key, password=_no_password
        )
    except (ssl.SSLError, ValueError) as error:
        raise OperatorError(
            "--tls-cert, --tls-key: no certificate and unencrypted key in PEM form that fit"
        ) from error
    return Tls(cert, key, _client_ca(settings.tls_client_ca))


def _client_ca(path: Path | None) -> bytes | None:
    if path is None:
        return None
    content = _read("--tls-client-ca", path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise OperatorError("--tls-client-ca: no certificate in PEM form") from error
    return content


def _check_complete(settings: SecuritySettings) -> None:
    by_certificate = settings.client_identity == "certificate"
    for wrong, text in (
        (
            (settings.tls_cert is None) != (settings.tls_key is None),
            "--tls-cert and --tls-key belong together",
        ),
        (
            settings.tls_client_ca is not None and settings.tls_cert is None,
            "--tls-client-ca needs --tls-cert",
        ),
        (
            by_certificate and (settings.tls_client_ca is None or settings.users_file is None),
            "--client-identity certificate needs --tls-client-ca and --users-file",
        ),
        (
            by_certificate and settings.jwt_keys is not None,
            "--client-identity certificate takes no tokens: leave --jwt-keys out",
        ),
        (
            settings.jwt_keys is not None and not (settings.jwt_issuer and settings.jwt_audience),
            "--jwt-keys needs --jwt-issuer and --jwt-audience: a token for another service "
            "must not open this one",
        ),
    ):
        if wrong:
            raise OperatorError(text)


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{flag} {path}: {error.strerror}") from error


def _open_to_all(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH)
    except OSError:
        return False  # reading it says so in a moment


def _no_password() -> str:
    raise ValueError("the key is encrypted")
