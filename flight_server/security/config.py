"""Settings of `highwater serve` about who may connect, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.settings import setting

if TYPE_CHECKING:
    from pathlib import Path

IDENTITIES = ("login", "certificate")


@dataclass(frozen=True)
class SecuritySettings:
    """Part of `ServeSettings`; docs/security.md shows how they go together."""

    tls_cert: Path | None = setting(
        None, doc="PEM file with the server's certificate chain; turns TLS on"
    )
    tls_key: Path | None = setting(None, doc="PEM file with the key of --tls-cert, unencrypted")
    tls_client_ca: Path | None = setting(
        None, doc="PEM file; clients must show a certificate that one of these signed (mTLS)"
    )
    client_identity: str = setting(
        "login",
        doc="Who a client is: whose login or token it sends, or whose certificate it shows",
        choices=IDENTITIES,
    )
    users_file: Path | None = setting(
        None, doc="Users and their rights, made by `highwater user`; everybody must log in"
    )
    token_ttl_s: float = setting(
        43_200.0,
        doc="How long the bearer token of a login is taken",
        unit="s",
        minimum=1.0,
        maximum=2_592_000,
    )
    jwt_keys: Path | None = setting(
        None, doc="PEM public key or JWKS file of the issuer whose JSON Web Tokens are taken"
    )
    jwt_issuer: str = setting("", doc="`iss` that these tokens must have")
    jwt_audience: str = setting("", doc="`aud` that these tokens must have")
    insecure: bool = setting(False, doc="Listen beyond loopback although TLS or users are missing")
