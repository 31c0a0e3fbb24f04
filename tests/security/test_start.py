"""Whether a server starts at all, and what it says then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contract.clock import SystemClock
from contract.errors import OperatorError
from flight_server.app import Server
from flight_server.config import ServeSettings
from tests.support.flight_fixture import new_id
from tests.support.secrets_fixture import write_users

if TYPE_CHECKING:
    from pathlib import Path


def start(folder: Path, **settings: Any) -> None:
    """Make a server, as far as the settings let it."""
    made = ServeSettings(data_dir=folder, port=0, health_port=0, **settings)
    Server(made, SystemClock(), new_id, 1)


def test_beyond_loopback_it_does_not_start_without_tls_and_users(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"--tls-cert.*--users-file.*--insecure"):
        start(tmp_path, host="0.0.0.0")


def test_insecure_lets_it_start_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said before anything else is done, which an absent file ends here."""
    with pytest.raises(OperatorError, match="No such file"):
        start(
            tmp_path,
            host="0.0.0.0",
            insecure=True,
            tls_cert=tmp_path / "absent",
            tls_key=tmp_path / "absent",
        )

    (said,) = [r.getMessage() for r in caplog.records if "INSECURE" in r.getMessage()]
    assert "without users" in said


def test_with_a_users_file_that_others_may_read_it_does_not_start(tmp_path: Path) -> None:
    users = write_users(tmp_path / "users.json")
    users.chmod(0o644)

    with pytest.raises(OperatorError, match="chmod 600"):
        start(tmp_path, users_file=users)
