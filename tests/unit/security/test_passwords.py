"""Hashes of passwords."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import RequestError
from flight_server.security import passwords
from flight_server.security.passwords import Cost, PasswordHash, checked_password, unpadded
from tests.support.secrets_fixture import CHEAP

SALT = bytes(range(16))


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_the_same_password_matches(password: str, other: str) -> None:
    kept = PasswordHash.of(password, SALT, CHEAP)

    assert kept.matches(password)
    assert kept.matches(other) == (other == password)


def test_a_hash_is_the_one_that_other_implementations_of_scrypt_make() -> None:
    """The first vector of RFC 7914 that has a salt: N 1024, r 8, p 16."""
    made = PasswordHash.of("password", b"NaCl", Cost(log2_n=10, r=8, p=16))

    assert made.digest.hex() == "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"


def test_the_same_password_looks_different_for_each_user() -> None:
    one, two = (PasswordHash.of("hunter22", os.urandom(16), CHEAP) for _ in range(2))

    assert one.text != two.text
    assert "hunter22" not in one.text


def test_a_hash_survives_the_file() -> None:
    kept = PasswordHash.of("hunter22", SALT, CHEAP)

    assert PasswordHash.parse(kept.text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter22",
        "md5$4$1$1$AAECAwQFBgcICQoLDA0ODw==$" + "A" * 44,
        "scrypt$4$1$1$AA==$" + base64.b64encode(bytes(32)).decode(),
        "scrypt$4$1$1$AAECAwQFBgcICQoLDA0ODw==$AA==",
        "scrypt$30$8$1$AAECAwQFBgcICQoLDA0ODw==$" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_what_is_no_hash_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(RequestError) as refused:
        PasswordHash.parse(text)

    assert not text or text not in str(refused.value)


def test_new_passwords_cost_what_is_asked_for_today() -> None:
    """OWASP's scrypt settings of 16 MiB: N 2**14, r 8, p 5."""
    assert PasswordHash.of("hunter22", SALT).cost == Cost(14, 8, 5)
    assert passwords.DECOY.cost == Cost(14, 8, 5)


@pytest.mark.parametrize(
    ("password", "good"), [("short", False), ("é" * 4, True), ("x" * 1025, False)]
)
def test_passwords_have_bounds(password: str, good: bool) -> None:
    if good:
        assert checked_password(password) == password
        return
    with pytest.raises(RequestError, match="8 to 1024") as refused:
        checked_password(password)
    assert password not in str(refused.value)


@given(st.binary(max_size=60))
def test_base64_is_read_in_each_form_that_clients_send(data: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        padded = encode(data).decode()

        assert unpadded(padded) == data
        assert unpadded(padded.rstrip("=")) == data
