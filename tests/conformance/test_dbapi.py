"""flightsql-dbapi and SQLAlchemy, in an environment of their own: they need SQLAlchemy 1.4."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.flight_fixture import serving

if TYPE_CHECKING:
    from tests.support.joint import Joint

_ENVIRONMENT = Path(__file__).parents[2] / ".highwater" / "dbapi" / "venv"
_PACKAGES = ("flightsql-dbapi==0.2.2", "sqlalchemy==1.4.54", "pandas")
_SCRIPT = Path(__file__).parent / "dbapi_client.py"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def python() -> Path:
    """Its interpreter; made once for the checkout."""
    interpreter = _ENVIRONMENT / "bin" / "python"
    ready = _ENVIRONMENT / "ready"
    if not ready.exists():
        venv.create(_ENVIRONMENT, clear=True, with_pip=True)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", *_PACKAGES]
        subprocess.run(install, check=True, timeout=240)
        ready.touch()
    return interpreter


@pytest.fixture(scope="module")
def answers(live: Joint, python: Path) -> dict[str, Any]:
    with serving(live.engine) as server:
        done = subprocess.run(
            [str(python), str(_SCRIPT), str(server.port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_the_snippet_for_sqlalchemy_runs(live: Joint, python: Path) -> None:
    """31"""
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    section = page.partition("\n## SQLAlchemy\n")[2].partition("\n## ")[0]
    snippet = section.partition("```python\n")[2].partition("```")[0]
    with serving(live.engine) as server:
        snippet = snippet.replace("127.0.0.1:31337", f"127.0.0.1:{server.port}")
        command = [str(python), "-c", snippet]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "200" in done.stdout, done.stderr[-3000:]


def test_dbapi_queries_and_binds(answers: dict[str, Any]) -> None:
    """15"""
    assert answers["query"] == [[1]]
    assert answers["bound"] == [[200]]


def test_sqlalchemy_inspects(answers: dict[str, Any]) -> None:
    """31"""
    assert answers["schemas"] == ["public", "system"]
    assert answers["tables"] == ["trades", "trades_dead", "trades_history", "trades_tail"]
    assert answers["has table"] == [True, False]
    assert answers["columns"][:3] == ["message_id", "trade_id", "symbol"]
    assert answers["rows"] == [[200]]
