"""compose.yaml, as far as it can be checked without a container engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strictyaml.ruamel import YAML

ROOT = Path(__file__).parents[2]


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())
    return loaded


def test_every_volume_that_is_mounted_is_declared() -> None:
    compose = _compose()
    mounted = {v.split(":")[0] for s in compose["services"].values() for v in s["volumes"]}

    assert mounted == set(compose["volumes"])


def test_ports_are_open_on_loopback_only() -> None:
    ports = [port for s in _compose()["services"].values() for port in s["ports"]]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_is_of_the_version_that_the_embedded_one_has() -> None:
    pom = (ROOT / "ingest" / "kafka" / "pom.xml").read_text()
    _, version = _compose()["services"]["broker"]["image"].split(":")

    assert f"<version>{version}</version>" in pom
