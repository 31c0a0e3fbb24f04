"""No secret in a log, an error, a help text or a system table: looked for, after using them all."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any

import adbc_driver_flightsql.dbapi as adbc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pyarrow import flight

from contract.clock import SystemClock
from contract.errors import RequestError
from contract.settings import COMMANDS, load
from flight_server.config import ServeSettings
from flight_server.query.system import System
from highwater.cli import main
from highwater.settings_doc import classes
from tests.security.conftest import PASSWORD, TOKEN, World
from tests.support.secrets_fixture import AUDIENCE, ISSUER, a_jwt, public_pem

if TYPE_CHECKING:
    from pathlib import Path

WRONG = "wrong-but-perhaps-of-another-account"
CATALOG = "postgresql://highwater:hunter2@catalog/iceberg"
PROPERTIES = "s3.secret-access-key=hunter2hunter2"


def _basic(password: str) -> str:
    return base64.b64encode(f"alice:{password}".encode()).decode().rstrip("=")


def _use(port: int, ca: bytes, *headers: str) -> list[str]:
    """Send each as `authorization`; the errors, and the tokens that logins get."""
    heard = []
    with flight.connect(f"grpc+tls://127.0.0.1:{port}", tls_root_certs=ca) as client:
        for header in headers:
            options = flight.FlightCallOptions(headers=[(b"authorization", header.encode())])
            try:
                list(client.list_actions(options))
            except flight.FlightError as error:
                heard.append(str(error))
    return heard


def test_no_log_line_and_no_error_holds_a_secret(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(public_pem(key))
    settings = world.changed(
        jwt_keys=tmp_path / "key.pem", jwt_issuer=ISSUER, jwt_audience=AUDIENCE
    )
    now_s = SystemClock().wall_s()
    tokens = [a_jwt(key, now_s=at, aud=to) for at, to in ((now_s, AUDIENCE), (1, ""), (now_s, ""))]
    caplog.set_level(logging.DEBUG)
    ca = world.authority.cert.read_bytes()
    with world.serve(settings) as server:
        headers = [f"Basic {_basic(p)}" for p in (PASSWORD, WRONG)]
        headers += [f"Bearer {t}" for t in (*tokens, TOKEN, TOKEN + "x", "hws_" + WRONG, WRONG)]
        errors = _use(server.port, ca, *headers, f"Digest {WRONG}", WRONG)
        errors += [_adbc_error(server.port, ca.decode(), WRONG)]

    told = "\n".join([caplog.text, *errors, capfd.readouterr().err])
    secrets = [PASSWORD, WRONG, _basic(PASSWORD), _basic(WRONG), TOKEN, *tokens]
    secrets += [part for token in tokens for part in token.split(".")[1:]]
    assert len(errors) == 9
    assert "refused" in caplog.text
    assert [secret for secret in secrets if secret in told] == []


def _adbc_error(port: int, ca: str, password: str) -> str:
    options = {
        "username": "alice",
        "password": password,
        "adbc.flight.sql.client_option.tls_root_certs": ca,
    }
    uri = f"grpc+tls://127.0.0.1:{port}"
    with pytest.raises(adbc.Error) as raised:
        adbc.connect(uri, db_kwargs=options, autocommit=True).close()
    return str(raised.value)


def test_system_settings_mask_what_was_set(world: World, joint: Any, tmp_path: Path) -> None:
    argv = [f"--catalog-uri={CATALOG}", f"--catalog-properties={PROPERTIES}"]
    argv += [f"--users-file={world.settings.users_file}", f"--data-dir={tmp_path}"]
    settings = load(ServeSettings, "serve", argv, {})
    system = System(joint.engine._session.ctx, settings)
    rows = {name: value for name, value, *_ in system._setting_rows(None, None)}  # type: ignore[arg-type]

    assert rows["catalog_uri"] == rows["catalog_properties"] == "(set)"
    assert "hunter2" not in str(rows)
    assert rows["users_file"] == str(world.settings.users_file)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_text_shows_what_is_set(command: str, capsys: Any) -> None:
    prefix = f"HIGHWATER_{command.upper().replace(' ', '_')}_"
    environ = {
        "HIGHWATER_CATALOG_URI": CATALOG,
        "HIGHWATER_CATALOG_PROPERTIES": PROPERTIES,
        f"{prefix}TOKEN_FILE": "hunter2",
    }
    with pytest.raises(SystemExit):
        load(classes()[command], command, ["--help"], environ)

    printed = capsys.readouterr().out
    assert "usage:" in printed
    assert "hunter2" not in printed


@pytest.mark.parametrize("given", ["flag", "environment", "file"])
def test_a_secret_of_the_wrong_form_is_not_quoted(given: str, tmp_path: Path) -> None:
    argv, environ = [], {}
    if given == "flag":
        argv = ["--catalog-properties", "hunter2"]
    elif given == "environment":
        environ = {"HIGHWATER_CATALOG_PROPERTIES": "a=b,hunter2"}
    else:
        (tmp_path / "highwater.toml").write_text("[common]\ncatalog_uri = ['hunter2']\n")
    with pytest.raises(RequestError, match=r"(?i)catalog.*secret") as refused:
        load(ServeSettings, "serve", argv, environ, tmp_path / "highwater.toml")

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("command", ["sql", "demo", "user add"])
def test_no_client_takes_a_secret_as_a_flag(command: str, capsys: Any) -> None:
    """`ps` shows command lines to everybody on the machine."""
    for flag in ("--password", "--token"):
        assert main([*command.split(), flag, "hunter2"], {}) == 2
        assert "unknown setting" in capsys.readouterr().err


def test_a_uri_with_a_secret_is_refused_without_showing_it(capsys: Any) -> None:
    assert main(["sql", "--uri", "grpc://alice:hunter2@127.0.0.1:1", "select 1"], {}) == 2

    said = capsys.readouterr().err
    assert "--password-file" in said
    assert "hunter2" not in said
