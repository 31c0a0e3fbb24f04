"""JSON Web Tokens: which are taken, for whom, and which are not."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from contract.clock import SystemClock
from contract.errors import OperatorError, UnauthenticatedError
from flight_server.security.identity import Identity
from flight_server.security.users import Users
from flight_server.security.watched import Watched
from flight_server.security.web_tokens import WebTokens, parse_keys
from tests.support.secrets_fixture import (
    AUDIENCE,
    ISSUER,
    a_jwt,
    a_user,
    private_pem,
    public_pem,
)

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
KEY = KEYS["ES256"]
GRANT = {"role": "reader", "tables": ["trades"]}
READER = Identity("alice", frozenset({"trades"}))


class MovedClock(SystemClock):
    """The machine's clock, moved ahead."""

    ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@dataclass
class Issuer:
    path: Path
    content: bytes

    def __post_init__(self) -> None:
        self.path.write_bytes(self.content)
        self.clock = MovedClock()
        self.users = Users()
        keys = Watched("--jwt-keys", self.path, parse_keys, self.clock, private=False)
        self.tokens = WebTokens(keys, ISSUER, AUDIENCE, lambda: self.users, self.clock)
        self.identity = self.tokens.identity

    def token(self, key: Any = KEY, **claims: Any) -> str:
        return a_jwt(key, now_s=self.clock.wall_s(), **{"highwater": GRANT} | claims)

    def refused(self, token: str) -> str:
        with pytest.raises(UnauthenticatedError) as refused:
            self.identity(token)
        assert token not in str(refused.value)
        return str(refused.value)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "key.pem", public_pem(KEY))


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_kind_of_public_key_is_taken(tmp_path: Path, algorithm: str) -> None:
    key = KEYS[algorithm]
    issuer = Issuer(tmp_path / "key.pem", public_pem(key))

    assert issuer.identity(issuer.token(key, algorithm=algorithm)) == READER


def jwks(**keys: Any) -> bytes:
    made = []
    for key_id, key in keys.items():
        kind = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        made.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"})
    return json.dumps({"keys": made}).encode()


def test_a_key_of_a_set_is_found_by_its_id(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json", jwks(one=KEY, two=KEYS["RS256"]))

    assert issuer.identity(issuer.token(key_id="one")) == READER
    assert issuer.identity(issuer.token(KEYS["RS256"], algorithm="RS256", key_id="two")) == READER
    for wrong in ("two", "three", ""):
        assert "form or signature" in issuer.refused(issuer.token(key_id=wrong))


def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json", jwks(one=KEY))
    old, new = issuer.token(key_id="one"), ec.generate_private_key(ec.SECP256R1())
    assert issuer.identity(old) == READER

    issuer.path.write_bytes(jwks(two=new))
    issuer.clock.ahead_s = 2.0

    assert issuer.identity(issuer.token(new, key_id="two")) == READER
    assert "signature" in issuer.refused(old)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "needs the claims"),
        ({"sub": None}, "needs the claims"),
        ({"aud": "another"}, "another audience"),
        ({"aud": None}, "needs the claims"),
        ({"iss": "https://another.example"}, "another issuer"),
        ({"nbf": 33_000_000_000}, "not valid yet"),
        ({"sub": "a:b"}, "user's name"),
        ({"sub": "anonymous"}, "user's name"),
        ({"highwater": "admin"}, "no role"),
        ({"highwater": {"role": "root"}}, "no role"),
        ({"highwater": {"role": "reader", "tables": "trades"}}, "list of names"),
        ({"highwater": None}, "no rights"),
    ],
)
def test_what_a_token_must_say(issuer: Issuer, claims: dict[str, Any], says: str) -> None:
    assert says in issuer.refused(issuer.token(**claims))


def test_a_token_of_another_key_is_refused(issuer: Issuer) -> None:
    other = ec.generate_private_key(ec.SECP256R1())

    assert "signature" in issuer.refused(issuer.token(other))


def _unsigned(claims: dict[str, Any]) -> str:
    parts = [json.dumps(p).encode() for p in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts) + "."


def test_a_token_cannot_choose_how_it_is_checked(issuer: Issuer) -> None:
    """Neither without a signature, nor with the public key as the secret of an HMAC."""
    good = jwt.decode(issuer.token(), options={"verify_signature": False})
    secret = base64.urlsafe_b64encode(b"x" * 32)

    assert "signature" in issuer.refused(_unsigned(good))
    assert "signature" in issuer.refused(jwt.encode(good, secret, algorithm="HS256"))


@pytest.mark.parametrize("token", ["a.b.c", "..", "é.é.é", "x" * 9_000])
def test_garbage_is_no_token(issuer: Issuer, token: str) -> None:
    issuer.refused(token)


def test_a_good_token_is_checked_once_and_ends_with_its_time(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    assert issuer.identity(token) == READER

    with monkeypatch.context() as broken:
        broken.setattr(jwt, "decode", None)
        assert issuer.identity(token) == READER
    issuer.clock.ahead_s = 700.0
    expired = a_jwt(KEY, now_s=issuer.clock.wall_s() - 2_000, highwater=GRANT)

    assert "expired" in issuer.refused(expired)
    monkeypatch.setattr(jwt, "decode", None)
    with pytest.raises(TypeError):
        issuer.identity(token)


def test_memory_for_good_tokens_is_bounded(issuer: Issuer) -> None:
    for i in range(1_100):
        issuer.identity(issuer.token(jti=str(i)))

    assert len(issuer.tokens._accepted) == 1_024


def test_the_users_file_decides_before_the_token(issuer: Issuer) -> None:
    issuer.users = Users({"alice": a_user("alice", ["quotes"])})

    assert issuer.identity(issuer.token()) == Identity("alice", frozenset({"quotes"}))
    assert issuer.identity(issuer.token(highwater=None)) == Identity("alice", frozenset({"quotes"}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"{}",
        b'{"keys": []}',
        private_pem(KEY),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}).encode(),
    ],
)
def test_a_file_without_a_public_key_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(OperatorError, match="no public key") as refused:
        Issuer(tmp_path / "key", content)

    assert "c2VjcmV0" not in str(refused.value)
