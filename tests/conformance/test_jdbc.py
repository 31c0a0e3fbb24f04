"""The real JDBC driver of Apache Arrow, 18.3.0, against the real engine: `jdbc/Ask.java`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.kafka.install import ensure_jars
from tests.support.flight_fixture import serving

if TYPE_CHECKING:
    from tests.support.joint import Joint

_HERE = Path(__file__).parent / "jdbc"
_JARS = Path(__file__).parents[2] / ".highwater" / "jdbc" / "jars"
_JAVA = shutil.which("java")
pytestmark = [
    pytest.mark.skipif(_JAVA is None, reason="there is no java on the PATH"),
    pytest.mark.timeout(300),
]


def ask(port: int, steps: str, *properties: str) -> dict[str, str]:
    """What the program printed, by step."""
    jars = ensure_jars(_JARS, print, _HERE / "pom.xml", "the JDBC driver's jars")
    done = subprocess.run(
        [
            str(_JAVA),
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "-cp",
            f"{jars}/*",
            str(_HERE / "Ask.java"),
            f"jdbc:arrow-flight-sql://127.0.0.1:{port}",
            steps,
            *properties,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answers = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    closed = answers.pop("closed", None)
    # with a catalog in the URL the driver closes its session a second time, on a closed channel
    known = "Channel shutdown invoked" if "catalog=highwater" in properties else "true"
    assert closed == known, done.stderr[-3000:]
    return answers


@pytest.fixture(scope="module")
def answers(live: Joint) -> dict[str, str]:
    """Of one run without any property."""
    with serving(live.engine) as server:
        return ask(server.port, "all but cancel")


def test_jdbc_metadata_getters_all_answer(answers: dict[str, str]) -> None:
    """33, 38"""
    called, _, failed = answers["getters"].partition(" ")

    assert int(called) > 100
    assert failed == "[]"


def test_jdbc_lists_catalogs_schemas_tables_columns_and_no_keys(answers: dict[str, str]) -> None:
    """34"""
    assert answers["catalogs"] == "[[highwater]]"
    assert answers["schemas"] == "[[public, highwater], [system, highwater]]"
    assert answers["table types"] == "[[SYSTEM TABLE], [TABLE], [VIEW]]"
    assert answers["tables"].count("highwater, public, trades") == 4
    assert answers["columns"].startswith(
        "[[highwater, public, trades_tail, price, 3, DECIMAL, 18, null, 8, 10, 0,"
    )
    assert answers["keys"] == "[[], [], [], [], []]"


def test_jdbc_reads_every_type_of_the_tables(answers: dict[str, str]) -> None:
    """35"""
    assert answers["types"] == (
        "[[BTCUSDT, 39433.60000000, [], 2024-02-29, BTCUSDT, aBTCUSDT, [0, -1], true, null, "
        '{"is_buyer_maker":"false"}]]'
    )
    assert answers["timestamp"].endswith(" 2021-01-08T00:00:01.140Z")


def test_jdbc_prepares_binds_and_runs_again(answers: dict[str, str]) -> None:
    """36, 37"""
    assert answers["prepared"] == "[4, 1, [[200]], [[200]], 2]"
    assert answers["execute"] == "[true, [[1]]]"
    assert answers["max rows"] == "3"
    assert answers["explain"] == "2"
    assert answers["version"].startswith("[[Highwater ")


def test_jdbc_errors_say_what_is_wrong(answers: dict[str, str]) -> None:
    """51"""
    assert "this server is read-only" in answers["write"]
    assert "No field named nothing" in answers["wrong"]
    assert "Traceback" not in answers["wrong"]


def test_jdbc_cancels_from_another_thread(live: Joint) -> None:
    """37"""
    with serving(live.engine) as server:
        assert ask(server.port, "cancel")["cancel"] == "cancelled"


@pytest.mark.parametrize(
    "properties",
    [
        ("user=alice", "password=secret"),
        ("token=any.old.token",),
        ("catalog=highwater", "highwater.timestamps=utc"),
    ],
    ids=lambda properties: properties[0].partition("=")[0],
)
def test_jdbc_connects_with_each_kind_of_property(live: Joint, properties: tuple[str, ...]) -> None:
    """32"""
    with serving(live.engine) as server:
        answers = ask(server.port, "execute,set catalog,timestamp as object", *properties)

    assert answers["execute"] == "[true, [[1]]]"
    assert answers["set catalog"] == "highwater"
    if "highwater.timestamps=utc" in properties:
        assert answers["timestamp as object"] == "[[2021-01-08 00:00:01.14]]"
    else:  # the driver cannot; when it can, the option and its documentation may go
        assert answers["timestamp as object"] == "error RuntimeException: not implemented"
