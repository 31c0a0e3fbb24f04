"""Salted hashes of passwords (scrypt), and digests of random tokens (SHA-256).

A password is guessable, so that trying one must be slow: 16 MiB and about a tenth of a second. A
token is 256 random bits, so that a plain digest gives nothing away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from contract.errors import RequestError

SALT_BYTES = 16
TOKEN_BYTES = 32
PASSWORD_BYTES_MIN = 8
PASSWORD_BYTES_MAX = 1024  # hashing is what a stranger can make the server do
_HASH_BYTES = 32
_SCHEME = "scrypt"


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters of scrypt: 128 * 2**log2_n * r bytes of memory, p times over."""

    log2_n: int = 14
    r: int = 8
    p: int = 5

    def __post_init__(self) -> None:
        """Refuse what a server could not afford."""
        if not (4 <= self.log2_n <= 17 and 1 <= self.r <= 8 and 1 <= self.p <= 16):
            raise RequestError(f"{self} is outside of what this server computes")


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password."""

    cost: Cost
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str, salt: bytes, cost: Cost | None = None) -> PasswordHash:
        """Hash `password` with a salt of SALT_BYTES random bytes."""
        made = cost or Cost()
        return cls(made, salt, _scrypt(password, salt, made))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """The hash that `text` shows. Raises RequestError, without the text."""
        try:
            scheme, log2_n, r, p, salt, digest = text.split("$")
            made = cls(
                Cost(int(log2_n), int(r), int(p)),
                base64.b64decode(salt, validate=True),
                base64.b64decode(digest, validate=True),
            )
        except ValueError:
            raise RequestError("this is no hash of a password") from None
        if scheme != _SCHEME or len(made.salt) < SALT_BYTES or len(made.digest) != _HASH_BYTES:
            raise RequestError("this is no hash of a password")
        return made

    @property
    def text(self) -> str:
        """As the users' file holds it."""
        cost = self.cost
        encoded = [base64.b64encode(part).decode() for part in (self.salt, self.digest)]
        return "$".join([_SCHEME, str(cost.log2_n), str(cost.r), str(cost.p), *encoded])

    def matches(self, password: str) -> bool:
        """Whether it is the hash of `password`; takes the same time whatever differs."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost), self.digest)


# Compared where there is no such user: an answer must not come sooner for a name nobody has.
DECOY = PasswordHash(Cost(), bytes(SALT_BYTES), bytes(_HASH_BYTES))


def checked_password(password: str) -> str:
    """`password`, if it may be set; RequestError says what is wrong, never the password."""
    size = len(password.encode())
    if not PASSWORD_BYTES_MIN <= size <= PASSWORD_BYTES_MAX:
        raise RequestError(
            f"a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes, this one {size}"
        )
    return password


def token_digest(token: str) -> bytes:
    """What is kept of a random token."""
    return hashlib.sha256(token.encode()).digest()


def urlsafe(data: bytes) -> str:
    """Base64 for headers, without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpadded(text: str) -> bytes:
    """Base64 of either alphabet, with or without padding; ValueError if it is none."""
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=1 << cost.log2_n,
        r=cost.r,
        p=cost.p,
        dklen=_HASH_BYTES,
        maxmem=2 * 128 * cost.r * ((1 << cost.log2_n) + cost.p),
    )
