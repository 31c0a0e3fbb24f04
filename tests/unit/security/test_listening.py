"""Where a server may listen, and which settings belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.errors import OperatorError
from flight_server.security.config import SecuritySettings
from flight_server.security.listening import Tls, is_loopback, load_tls, warnings
from tests.support.secrets_fixture import Authority

FILE = Path("file")
NONE = SecuritySettings()
TLS = replace(NONE, tls_cert=FILE, tls_key=FILE)
USERS = replace(NONE, users_file=FILE)
JWT = replace(NONE, jwt_keys=FILE, jwt_issuer="i", jwt_audience="a")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.example.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_recognised_by_address(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("settings", [NONE, TLS, USERS, JWT])
def test_loopback_needs_nothing(settings: SecuritySettings) -> None:
    assert warnings(settings, "127.0.0.1") == []


@pytest.mark.parametrize(
    ("settings", "missing"),
    [(NONE, "TLS .* and no users"), (TLS, "no users"), (USERS, "no TLS"), (JWT, "no TLS")],
)
def test_elsewhere_tls_and_users_are_needed_or_a_word(
    settings: SecuritySettings, missing: str
) -> None:
    with pytest.raises(OperatorError, match=missing):
        warnings(settings, "0.0.0.0")

    (said,) = warnings(replace(settings, insecure=True), "0.0.0.0")

    assert said.startswith("INSECURE: listening on 0.0.0.0 without ")


@pytest.mark.parametrize("identity", [USERS, JWT])
def test_with_both_it_listens_anywhere_without_a_word(identity: SecuritySettings) -> None:
    both = replace(identity, tls_cert=FILE, tls_key=FILE)

    assert warnings(both, "0.0.0.0") == []
    assert warnings(replace(both, insecure=True), "0.0.0.0") == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (replace(NONE, tls_cert=FILE), "belong together"),
        (replace(NONE, tls_key=FILE), "belong together"),
        (replace(NONE, tls_client_ca=FILE), "needs --tls-cert"),
        (replace(TLS, client_identity="certificate"), "needs --tls-client-ca and --users-file"),
        (
            replace(
                TLS,
                client_identity="certificate",
                tls_client_ca=FILE,
                users_file=FILE,
                jwt_keys=FILE,
            ),
            "takes no tokens",
        ),
        (replace(NONE, jwt_keys=FILE, jwt_issuer="i"), "needs --jwt-issuer and --jwt-audience"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: SecuritySettings, says: str) -> None:
    with pytest.raises(OperatorError, match=says):
        warnings(settings, "127.0.0.1")


def test_certificates_are_tried_before_anybody_listens(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.issue("one", server=True), authority.issue("two")
    good = replace(NONE, tls_cert=one.cert, tls_key=one.key, tls_client_ca=authority.cert)

    assert load_tls(NONE) is None
    assert load_tls(good) == Tls(
        one.cert.read_bytes(), one.key.read_bytes(), authority.cert.read_bytes()
    )
    for wrong, says in (
        (replace(good, tls_key=two.key), "that fit"),
        (replace(good, tls_key=one.cert), "that fit"),
        (replace(good, tls_cert=tmp_path / "absent"), "--tls-cert .*No such file"),
        (replace(good, tls_client_ca=one.key), "no certificate"),
    ):
        with pytest.raises(OperatorError, match=says) as refused:
            load_tls(wrong)
        assert "PRIVATE" not in str(refused.value)


def test_a_key_that_everybody_may_read_is_said(tmp_path: Path) -> None:
    pem = Authority(tmp_path).issue("one", server=True)
    settings = replace(NONE, tls_cert=pem.cert, tls_key=pem.key)
    assert warnings(settings, "127.0.0.1") == []

    pem.key.chmod(0o644)

    (said,) = warnings(settings, "127.0.0.1")
    assert "may read" in said
