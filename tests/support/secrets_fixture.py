"""Users with passwords that are cheap to hash, keys and certificates made when they are needed."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flight_server.security.passwords import Cost, PasswordHash, token_digest
from flight_server.security.users import User, Users, render_users

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHEAP = Cost(log2_n=4, r=1, p=1)
ISSUER, AUDIENCE = "https://issuer.example", "highwater"


def a_user(
    name: str,
    tables: Iterable[str] | None = (),
    *,
    password: str = "",
    token: str = "",
    admin: bool = False,
) -> User:
    """A user; `tables` None: all."""
    return User(
        name,
        None if tables is None else frozenset(tables),
        admin,
        PasswordHash.of(password, name.encode().ljust(16, b"."), CHEAP) if password else None,
        {"test": token_digest(token)} if token else {},
    )


def write_users(path: Path, *users: User) -> Path:
    """A users' file of mode 0600."""
    path.write_bytes(render_users(Users({user.name: user for user in users})))
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Pem:
    """Files of one certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of a test; `cert` is the file that trusts it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(f"{name} of a test")
        usage = x509.BasicConstraints(ca=True, path_length=None)
        made = _certificate(self._subject, self._key.public_key(), self._subject, [usage])
        self.cert = folder / f"{name}.pem"
        self.cert.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *, server: bool = False) -> Pem:
        """A certificate for `name`: of a server on loopback, or of a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = []
        if server:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            extensions.append(x509.SubjectAlternativeName([x509.DNSName(name), loopback]))
        made = _certificate(_name(name), key.public_key(), self._subject, extensions)
        pem = Pem(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pem.cert.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        pem.key.write_bytes(private_pem(key))
        pem.key.chmod(0o600)
        return pem


def private_pem(key: Any) -> bytes:
    """Unencrypted."""
    form = serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def public_pem(key: Any) -> bytes:
    """The public half of a private key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


def a_jwt(
    key: Any, *, now_s: float, algorithm: str = "ES256", key_id: str = "", **claims: object
) -> str:
    """A token of ISSUER for AUDIENCE about `alice` that lives for ten minutes, but for `claims`."""
    stated = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(now_s) + 600} | claims
    kept = {name: value for name, value in stated.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": key_id} if key_id else None)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: x509.Name, key: Any, issuer: x509.Name, extensions: list[x509.ExtensionType]
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return made


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
