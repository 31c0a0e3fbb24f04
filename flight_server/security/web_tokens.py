"""JSON Web Tokens of another issuer: who they are about, and what they grant.

PyJWT checks signature, times, issuer and audience. Which algorithms a key may be used with comes
from the key, never from the token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from contract.errors import RequestError, UnauthenticatedError
from flight_server.security.identity import Identity
from flight_server.security.users import ROLES, Users, checked_name, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contract.clock import Clock
    from flight_server.security.watched import Watched

CLAIM = "highwater"  # {"role": "reader", "tables": ["trades"]}
_LEEWAY_S = 10.0
_CHARACTERS_MAX = 8192  # as much as gRPC takes for all headers
_KEPT_MAX = 1024
_REQUIRED = ("exp", "sub", "iss", "aud")
_EDWARDS = ("EdDSA",)
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}


@dataclass(frozen=True)
class VerificationKey:
    """One public key and the algorithms that it may be used with; `key_id` "": for any token."""

    key_id: str
    key: Any
    algorithms: Sequence[str]


def parse_keys(content: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a PEM public key or a JWKS document; RequestError if there are none."""
    keys = _from_jwks(content) if content.lstrip()[:1] == b"{" else _from_pem(content)
    if not keys:
        raise RequestError("it holds no public key for signatures (RSA, EC or Edwards curve)")
    return keys


@dataclass(frozen=True)
class _Accepted:
    identity: Identity | None  # None: the users' file says
    principal: str
    expires_s: float
    keys: tuple[VerificationKey, ...]


class WebTokens:
    """Token -> identity; remembers the newest that were good. Thread-safe."""

    def __init__(
        self,
        keys: Watched[tuple[VerificationKey, ...]],
        issuer: str,
        audience: str,
        users: Callable[[], Users],
        clock: Clock,
    ) -> None:
        """`users`: an entry there for a token's subject decides its rights, not the token."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._users = users
        self._clock = clock
        self._accepted: OrderedDict[bytes, _Accepted] = OrderedDict()
        self._lock = threading.Lock()

    def identity(self, token: str) -> Identity:
        """Who comes with `token`; UnauthenticatedError says why nobody does, without the token."""
        if len(token) > _CHARACTERS_MAX:
            raise UnauthenticatedError("the token is too long")
        keys = self._keys.current()
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            found = self._accepted.get(digest)
        if found is None or found.keys is not keys or self._clock.wall_s() >= found.expires_s:
            found = self._verified(token, keys)
            with self._lock:
                self._accepted[digest] = found
                while len(self._accepted) > _KEPT_MAX:
                    self._accepted.popitem(last=False)
        user = self._users().by_name.get(found.principal)
        identity = found.identity if user is None else user.identity
        if identity is None:
            raise UnauthenticatedError(
                f"the token gives its subject no rights: it has no claim {CLAIM!r}, and there is "
                "no user of that name"
            )
        return identity

    def _verified(self, token: str, keys: tuple[VerificationKey, ...]) -> _Accepted:
        try:
            key = _key_for(token, keys)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": list(_REQUIRED)},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the token is refused: {_reason(error)}") from None
        try:
            principal = checked_name(str(claims["sub"]))
            identity = _granted(principal, claims.get(CLAIM))
        except RequestError as error:
            raise UnauthenticatedError(f"the token's claims: {error}") from None
        return _Accepted(identity, principal, float(claims["exp"]) + _LEEWAY_S, keys)


def _key_for(token: str, keys: Sequence[VerificationKey]) -> VerificationKey:
    key_id = jwt.get_unverified_header(token).get("kid")
    for key in keys:
        if key.key_id in ("", key_id) or (len(keys) == 1 and key_id is None):
            return key
    raise jwt.InvalidTokenError("no key of that id")


def _granted(principal: str, claim: object) -> Identity | None:
    if claim is None:
        return None
    if not isinstance(claim, dict) or claim.get("role") not in ROLES:
        raise RequestError(f"{CLAIM!r} has no role out of {', '.join(ROLES)}")
    return Identity(principal, tables_of(claim.get("tables", [])), claim["role"] == "admin")


def _reason(error: jwt.PyJWTError) -> str:
    """The library's class in words; its text may quote the token."""
    reasons: Mapping[type[jwt.PyJWTError], str] = {
        jwt.ExpiredSignatureError: "it has expired",
        jwt.ImmatureSignatureError: "it is not valid yet",
        jwt.InvalidAudienceError: "it is for another audience",
        jwt.InvalidIssuerError: "it is of another issuer",
        jwt.MissingRequiredClaimError: f"it needs the claims {', '.join(_REQUIRED)}",
    }
    return reasons.get(type(error), "its form or signature is wrong")


def _from_pem(content: bytes) -> tuple[VerificationKey, ...]:
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError):
        return ()
    algorithms = _algorithms(key)
    return (VerificationKey("", key, algorithms),) if algorithms else ()


def _from_jwks(content: bytes) -> tuple[VerificationKey, ...]:
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(content))
    except (jwt.PyJWKSetError, ValueError, AttributeError, TypeError):
        return ()
    keys = []
    for each in found.keys:
        allowed = _algorithms(each.key)
        if each.public_key_use in (None, "sig") and each.algorithm_name in allowed:
            keys.append(VerificationKey(each.key_id or "", each.key, (each.algorithm_name,)))
    return tuple(keys)


def _algorithms(key: object) -> Sequence[str]:
    """Those that a public key may be used with; none for secrets and private keys."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, ())
    return _EDWARDS if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)) else ()
