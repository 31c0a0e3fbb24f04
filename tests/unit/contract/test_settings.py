"""Settings: precedence, names, types, bounds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import RequestError
from contract.settings import CommonSettings, common, load, parser, setting, settings_of, shown

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ServeSettings(CommonSettings):
    """Serve tables."""

    port: int = setting(31337, doc="Port", minimum=0, maximum=65_535)
    wait_s: float | None = setting(None, doc="Longest wait, 100 % of it", unit="s", minimum=0.5)
    warm: bool = setting(True, doc="Start warm")
    mode: str = setting("fast", doc="Mode", choices=("fast", "safe"))
    query: str = setting("", doc="What to ask", positional=True)


@dataclass(frozen=True)
class FeedSettings:
    """Feed a topic."""

    kafka: str = common("kafka")
    rate: float = setting(5.0, doc="Rate", unit="messages/s")


def serve(
    *argv: str, environ: Mapping[str, str] | None = None, toml: Path | None = None
) -> ServeSettings:
    missing = Path("no-such-file.toml")
    return load(ServeSettings, "serve", list(argv), environ or {}, toml or missing)


def test_defaults_are_those_of_the_fields(tmp_path: Path) -> None:
    settings = serve("--data-dir", str(tmp_path))

    assert settings.port == 31337
    assert settings.wait_s is None
    assert settings.tables == ("trades",)
    assert settings.catalog_uri == f"sqlite:///{tmp_path}/catalog.db"
    assert settings.warehouse == f"file://{tmp_path}/warehouse"


PLACES = ("flag", "own environment", "section", "default")


@pytest.mark.parametrize(
    "given_at", [c for n in range(5) for c in itertools.combinations(PLACES, n)]
)
def test_the_first_place_that_gives_a_setting_wins(
    given_at: tuple[str, ...], tmp_path: Path
) -> None:
    toml = tmp_path / "highwater.toml"
    toml.write_text("[serve]\nport = 3\n" if "section" in given_at else "")
    argv = ["--port", "1"] if "flag" in given_at else []
    environ = {"HIGHWATER_SERVE_PORT": "2"} if "own environment" in given_at else {}
    expected = {"flag": 1, "own environment": 2, "section": 3, "default": 31337}

    port = serve(*argv, environ=environ, toml=toml).port

    assert port == next((expected[place] for place in PLACES if place in given_at), 31337)


def test_common_settings_have_four_places_in_environment_and_file(tmp_path: Path) -> None:
    toml = tmp_path / "highwater.toml"
    toml.write_text('[common]\nkafka = "d:1"\nnamespace = "n"\n[serve]\nkafka = "c:1"\n')
    own, shared = {"HIGHWATER_SERVE_KAFKA": "a:1"}, {"HIGHWATER_KAFKA": "b:1"}

    assert serve(environ=own | shared, toml=toml).kafka == "a:1"
    assert serve(environ=shared, toml=toml).kafka == "b:1"
    assert serve(toml=toml).kafka == "c:1"
    assert serve(toml=toml).namespace == "n"
    assert load(FeedSettings, "feed live", [], {}, toml).kafka == "d:1"
    assert load(FeedSettings, "feed live", [], shared, toml).kafka == "b:1"


def test_the_file_is_found_by_flag_before_environment_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("flag", 1), ("env", 2), ("highwater", 3)):
        (tmp_path / f"{name}.toml").write_text(f"[serve]\nport = {port}\n")
    monkeypatch.chdir(tmp_path)
    environ = {"HIGHWATER_CONFIG": "env.toml"}

    assert load(ServeSettings, "serve", ["--config", "flag.toml"], environ).port == 1
    assert load(ServeSettings, "serve", [], environ).port == 2
    assert load(ServeSettings, "serve", [], {}).port == 3


def test_a_file_that_was_asked_for_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[serve\n")
    with pytest.raises(RequestError, match=r"missing\.toml: No such file"):
        serve("--config", str(tmp_path / "missing.toml"))
    with pytest.raises(RequestError, match=r"broken\.toml: .*line 1"):
        serve("--config", str(tmp_path / "broken.toml"))


@pytest.mark.parametrize(
    ("argv", "environ", "toml", "message"),
    [
        (["--prot", "1"], {}, "", r"unknown setting --prot; the nearest is --port"),
        ([], {"HIGHWATER_SERVE_PROT": "1"}, "", r"HIGHWATER_SERVE_PROT.*HIGHWATER_SERVE_PORT"),
        ([], {"HIGHWATER_DATADIR": "1"}, "", r"HIGHWATER_DATADIR.*nearest is HIGHWATER_DATA_DIR"),
        ([], {}, "[serve]\nprot = 1", r"\[serve\]: unknown setting prot; the nearest is port"),
        ([], {}, "[common]\nkafak = '1'", r"\[common\]: unknown setting kafak.*kafka"),
        ([], {}, "[sevre]\nport = 1", r"unknown setting \[sevre\]; the nearest is serve"),
        ([], {}, "[feed.liev]\nrate = 1", r"\[feed\]: unknown setting liev; the nearest is live"),
        ([], {}, "port = 1", r"unknown setting port"),
        ([], {}, "serve = 1", r"serve must be a section"),
        (["--port"], {}, "", r"--port: expected one argument"),
        (["a", "b"], {}, "", r"unknown setting b"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    argv: list[str], environ: dict[str, str], toml: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "h.toml"
    file.write_text(toml)

    with pytest.raises(RequestError, match=message):
        serve(*argv, environ=environ, toml=file)


def test_what_belongs_to_another_command_is_left_to_it(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("[ingest]\nwhatever = 1\n[feed.replay]\nother = 2\n")

    assert serve(environ={"HIGHWATER_INGEST_WHATEVER": "1"}, toml=file).port == 31337


@pytest.mark.parametrize(
    ("argv", "toml", "message"),
    [
        (["--port", "x"], "", r"--port: 'x' is not of type integer"),
        (["--port", "1.5"], "", r"--port: '1.5' is not of type integer"),
        (["--port", "-1"], "", r"--port: -1 is below the minimum 0"),
        (["--port", "65536"], "", r"--port: 65536 is above the maximum 65535"),
        (["--wait-s", "0.4"], "", r"--wait-s: 0.4 s is below the minimum 0.5 s"),
        (["--wait-s", "nan"], "", r"--wait-s: nan s is below"),
        (["--mode", "slow"], "", r"--mode: 'slow' is none of fast, safe"),
        (
            ["--catalog-properties", "x"],
            "",
            r"--catalog-properties: not of type table; it is a secret",
        ),
        ([], "port = true", r"\[serve\] port: True is not of type integer"),
        ([], "port = '1x'", r"\[serve\] port: '1x' is not of type integer"),
        ([], "warm = 1", r"\[serve\] warm: 1 is not of type yes/no"),
        ([], "warm = 'perhaps'", r"\[serve\] warm: 'perhaps' is not of type yes/no"),
        ([], "tables = [1]", r"\[serve\] tables: \[1\] is not a list of texts"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    argv: list[str], toml: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "h.toml"
    file.write_text(f"[serve]\n{toml}\n")

    with pytest.raises(RequestError, match=message):
        serve(*argv, toml=file)


def test_each_type_is_read_from_text_and_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text(
        "[serve]\nwait_s = 2\nwarm = false\ndata_dir = 'd'\ntables = ['a', 'b']\n"
        "[serve.catalog_properties]\n's3.region' = 'x'\n"
    )
    text = serve(
        *("--wait-s", "2", "--no-warm", "--data-dir", "d", "--tables", "a", "--tables", "b"),
        *("--catalog-properties", "s3.region=x", "select 1"),
    )
    environ = {
        "HIGHWATER_SERVE_WAIT_S": "2",
        "HIGHWATER_SERVE_WARM": "false",
        "HIGHWATER_DATA_DIR": "d",
        "HIGHWATER_TABLES": "a, b",
        "HIGHWATER_CATALOG_PROPERTIES": "s3.region=x",
        "HIGHWATER_SERVE_QUERY": "select 1",
    }

    assert text == serve("select 1", toml=file) == serve(environ=environ)
    assert (text.wait_s, text.warm, text.data_dir) == (2.0, False, Path("d"))
    assert (text.tables, text.catalog_properties) == (("a", "b"), {"s3.region": "x"})


@given(st.integers(0, 65_535), st.floats(0.5, 1e9), st.booleans())
def test_what_is_shown_is_read_back_as_the_same_value(port: int, wait_s: float, warm: bool) -> None:
    settings = serve(f"--port={port}", f"--wait-s={wait_s}", "--warm" if warm else "--no-warm")
    texts = {item.name: text for item, text in shown(settings)}

    again = {f"HIGHWATER_SERVE_{name.upper()}": texts[name] for name in ("port", "wait_s", "warm")}

    assert serve(environ=again) == settings


def test_secrets_are_masked_where_settings_are_shown() -> None:
    settings = serve("--catalog-properties", "s3.secret-access-key=hush")

    assert "hush" not in str([text for _, text in shown(settings)])


def test_help_shows_default_unit_range_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        serve("--help")

    printed = " ".join(capsys.readouterr().out.split())
    assert printed == " ".join(parser(ServeSettings, "serve").format_help().split())
    assert "100 % of it (s; at least 0.5; default -; env HIGHWATER_SERVE_WAIT_S)" in printed
    assert "(one of fast, safe; default fast; env HIGHWATER_SERVE_MODE)" in printed
    assert "(0 to 65535; default 31337; env HIGHWATER_SERVE_PORT)" in printed
    assert "env HIGHWATER_DATA_DIR" in printed
    for item in settings_of(ServeSettings):
        assert item.doc in printed
