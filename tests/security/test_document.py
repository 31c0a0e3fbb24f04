"""What docs/security.md tells to type is typed: certificates, users, servers, clients."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
_BLOCK = re.compile(r"^```(sh background|sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DEADLINE_S = 60.0


class Typist:
    """Types block after block in one folder; a server runs until the next one is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        bin_dir = Path(sys.executable).parent
        self._environ = {
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "HOME": str(folder),
            "HIGHWATER_SERVE_PORT": str(self._port),
            "HIGHWATER_SERVE_HEALTH_PORT": "0",
            "HIGHWATER_KAFKA": "127.0.0.1:1",
        }
        self._server: subprocess.Popen[bytes] | None = None

    def type(self, language: str, text: str) -> str:
        text = text.replace("31337", str(self._port))
        if language == "sh background":
            self.stop()
            self._start(f"exec {text}")
            return ""
        argv = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            argv, cwd=self._folder, env=self._environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (text, done.stderr)
        return done.stdout + done.stderr

    def log(self) -> str:
        return (self._folder / "serve.log").read_text()

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()  # it would wait for its consumer, which has no broker
            self._server.wait(30)
            self._server = None

    def _start(self, command: str) -> None:
        with (self._folder / "serve.log").open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-euc", command],
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end_s = time.monotonic() + _DEADLINE_S
        while f"ready on grpc+tls://127.0.0.1:{self._port}" not in self.log():
            assert self._server.poll() is None, self.log()
            assert time.monotonic() < end_s, self.log()
            time.sleep(0.05)


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    made = Typist(tmp_path)
    yield made
    made.stop()


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_document_works_from_its_first_line_to_its_last(typist: Typist) -> None:
    blocks = _BLOCK.findall(DOCUMENT.read_text())

    printed = "".join(typist.type(language, text) for language, text in blocks)

    for way in ("password", "token", "certificate", "JSON Web Token"):
        assert f"by {way}" in printed
    assert "('from Python',)" in printed
    assert "alice  reader  trades  yes       reports" in printed
    assert "correct horse" not in printed + typist.log()
