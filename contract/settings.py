"""Settings as values: declared once as fields of a frozen dataclass, read from four places.

    @dataclass(frozen=True)
    class ServeSettings(CommonSettings):
        port: int = setting(31337, doc="TCP port of Flight SQL", minimum=0, maximum=65535)

    settings = load(ServeSettings, "serve", argv, os.environ)

Where one setting is given more than once, the first of these wins:

1. the flag               --port 9                    (`_` of the field becomes `-`)
2. the environment        HIGHWATER_SERVE_PORT=9      any setting, for this command
                          HIGHWATER_DATA_DIR=/data    a setting of `CommonSettings`
3. one TOML file          [serve] port = 9            the command's section, then [common];
                          ([feed.replay] for the command `feed replay`)
                          --config, else HIGHWATER_CONFIG, else ./highwater.toml if it is there
4. the default of the field

A name that no setting has is refused, together with the nearest one that exists. What belongs to
*another* command (its section, its HIGHWATER_<COMMAND>_ variables) is left to that command.
Field types: str, int, float, bool, Path, tuple[str, ...], Mapping[str, str], and each `| None`.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from contract.errors import RequestError
from contract.setting_values import PREFIX, Setting, as_text, convert, env_part, kind_of

COMMANDS = (
    "audit",
    "breaker",
    "broker",
    "cost",
    "demo",
    "feed live",
    "feed replay",
    "feed synthetic",
    "ingest",
    "maintain",
    "serve",
    "simulate",
    "sql",
    "user add",
    "user list",
    "user remove",
    "user token",
    "verify",
    "status",
)
CONFIG_ENV = "HIGHWATER_CONFIG"
CONFIG_FILE = Path("highwater.toml")
_NAMESPACE = {"Path": Path, "Mapping": Mapping}  # annotations survive a TYPE_CHECKING import

S = TypeVar("S")


def setting(
    default: Any,
    *,
    doc: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Iterable[str] = (),
    positional: bool = False,
    secret: bool = False,
    default_doc: str = "",
) -> Any:
    """Declare a setting as a dataclass field.

    `minimum` and `maximum` are inclusive. A `positional` setting is an optional argument without a
    flag. A `secret` one is masked by `shown`. `default_doc` describes a default that
    `__post_init__` computes.
    """
    about = {
        "doc": doc,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
        "positional": positional,
        "secret": secret,
        "default_doc": default_doc,
    }
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=about)
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class CommonSettings:
    """What more than one command needs to agree on: section [common] of the file."""

    data_dir: Path = setting(Path(".highwater"), doc="Directory of everything kept on this machine")
    kafka: str = setting("127.0.0.1:9092", doc="Bootstrap address of Kafka (host:port, ...)")
    catalog_uri: str = setting(
        "",
        doc="URI of the Iceberg catalog",
        default_doc="sqlite:///<data_dir>/catalog.db",
        secret=True,
    )
    warehouse: str = setting(
        "", doc="Location under which tables are created", default_doc="file://<data_dir>/warehouse"
    )
    catalog_properties: Mapping[str, str] = setting(
        {}, doc="Further PyIceberg catalog properties (type, s3.endpoint, ...)", secret=True
    )
    namespace: str = setting("public", doc="Iceberg namespace of the tables")
    tables: tuple[str, ...] = setting(
        ("trades",), doc="Tables: built-in names or paths of definition files"
    )
    log_level: str = setting(
        "info", doc="Least severe log line", choices=("debug", "info", "warning", "error")
    )
    log_format: str = setting("text", doc="Form of a log line", choices=("text", "json"))

    def __post_init__(self) -> None:
        """Complete the defaults that depend on the data directory."""
        root = self.data_dir.absolute()
        if not self.catalog_uri:
            object.__setattr__(self, "catalog_uri", f"sqlite:///{root}/catalog.db")
        if not self.warehouse:
            # Not Path.as_uri: the readers of this location do not decode percent signs.
            object.__setattr__(self, "warehouse", f"file://{root}/warehouse")


def common(name: str) -> Any:
    """One field of `CommonSettings`, for a command that doesn't need them all."""
    (found,) = (item for item in fields(CommonSettings) if item.name == name)
    return setting(found.default, **found.metadata)


def settings_of(cls: type[Any]) -> tuple[Setting, ...]:
    """All settings of a class in order of declaration, inherited ones first."""
    hints = typing.get_type_hints(cls, localns=_NAMESPACE)
    shared = {item.name: item.metadata for item in fields(CommonSettings)}
    found = []
    for item in fields(cls):
        kind, optional = kind_of(hints[item.name])
        factory = item.default_factory
        default = item.default if factory is MISSING else factory()
        is_common = item.metadata == shared.get(item.name)
        found.append(Setting(item.name, kind, optional, default, common=is_common, **item.metadata))
    return tuple(found)


def shown(settings: Any) -> list[tuple[Setting, str]]:
    """Each setting of an instance with its value as text; secrets that are set are masked."""
    pairs = []
    for item in settings_of(type(settings)):
        value = getattr(settings, item.name)
        masked = item.secret and value != item.default
        pairs.append((item, "(set)" if masked else as_text(value)))
    return pairs


def parser(cls: type[Any], command: str) -> argparse.ArgumentParser:
    """The command-line parser of a command; its values are still text."""
    made = argparse.ArgumentParser(
        prog=f"highwater {command}",
        description=(cls.__doc__ or "").partition("\n")[0],
        allow_abbrev=False,
        exit_on_error=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--config", metavar="FILE", help=f"TOML file with settings (env {CONFIG_ENV})"
    )
    for item in settings_of(cls):
        text = _help(item, command).replace("%", "%%")
        if item.positional:
            made.add_argument(item.name, nargs="?", metavar=item.flag, help=text)
        elif item.kind is bool:
            made.add_argument(
                item.flag, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        elif item.kind in {tuple, Mapping}:
            made.add_argument(item.flag, action="append", metavar="VALUE", help=text)
        else:
            made.add_argument(item.flag, metavar=item.kind_name.upper(), help=text)
    return made


def load(
    cls: type[S],
    command: str,
    argv: list[str],
    environ: Mapping[str, str],
    toml_path: Path | None = None,
) -> S:
    """Read the settings of `command`, checked; `toml_path` stands in for ./highwater.toml.

    Raises RequestError, with the setting's name, for what is unknown, ill-typed or out of range.
    `--help` prints and leaves through SystemExit(0), as argparse does.
    """
    known = {item.name: item for item in settings_of(cls)}
    flags = _parse(parser(cls, command), argv)
    origin = flags.pop("config", None) or environ.get(CONFIG_ENV)
    layers = [
        _from_file(known, command, Path(origin) if origin else toml_path, bool(origin)),
        _from_environ(known, command, environ),
        {name: (known[name].flag, value) for name, value in flags.items() if value is not None},
    ]
    given = {name: found for layer in layers for name, found in layer.items()}
    return cls(**{name: convert(known[name], value, at) for name, (at, value) in given.items()})


_Layer = dict[str, tuple[str, object]]  # name -> (where it was given, raw value)


def _parse(made: argparse.ArgumentParser, argv: list[str]) -> dict[str, Any]:
    try:
        space, rest = made.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise RequestError(f"{made.prog}: {error}") from error
    if rest:
        flags = [flag for action in made._actions for flag in action.option_strings]  # noqa: SLF001
        _unknown(made.prog, rest[0].partition("=")[0], flags)
    return vars(space)


def _from_environ(known: Mapping[str, Setting], command: str, environ: Mapping[str, str]) -> _Layer:
    mine = PREFIX + env_part(command)
    others = tuple(PREFIX + env_part(name) for name in COMMANDS if name != command)
    common = {PREFIX + name.upper(): name for name, item in known.items() if item.common}
    own = {mine + name.upper(): name for name in known}
    shared = {PREFIX + item.name.upper() for item in fields(CommonSettings)} | {CONFIG_ENV}
    for name in sorted(environ):
        ours = name in own or name in shared
        if name.startswith(PREFIX) and not ours and not name.startswith(others):
            _unknown("environment", name, [*own, *shared])
    pairs = [*common.items(), *own.items()]  # the command's own variable wins over the shared one
    return {name: (env, environ[env]) for env, name in pairs if env in environ}


def _from_file(
    known: Mapping[str, Setting], command: str, path: Path | None, explicit: bool
) -> _Layer:
    file = path or CONFIG_FILE
    if not explicit and not file.is_file():
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RequestError(f"settings file {file}: {reason}") from error
    _check_sections(file, content)
    common = content.get("common", {})
    _check_keys(f"{file} [common]", common, [item.name for item in fields(CommonSettings)])
    section: Any = content
    for part in command.split():
        section = section.get(part, {})
    where = f"{file} [{command.replace(' ', '.')}]"
    _check_keys(where, section, known)
    shared = {name: value for name, value in common.items() if name in known}
    layer: _Layer = {name: (f"{file} [common] {name}", value) for name, value in shared.items()}
    return layer | {name: (f"{where} {name}", value) for name, value in section.items()}


def _check_sections(file: Path, content: Mapping[str, object]) -> None:
    allowed = ["common", *{name.split()[0]: None for name in COMMANDS}]
    for name, value in content.items():
        if name not in allowed:
            _unknown(f"{file}", name if not isinstance(value, dict) else f"[{name}]", allowed)
        if not isinstance(value, dict):
            raise RequestError(f"{file}: {name} must be a section, [{name}]")
        parts = [command.partition(" ")[2] for command in COMMANDS if command.split()[0] == name]
        if parts and parts != [""]:
            _check_keys(f"{file} [{name}]", value, parts)


def _check_keys(where: str, section: object, known: Iterable[str]) -> None:
    if not isinstance(section, dict):
        raise RequestError(f"{where} must be a section")
    for name in section:
        if name not in known:
            _unknown(where, name, known)


def _unknown(where: str, name: str, known: Iterable[str]) -> NoReturn:
    near = difflib.get_close_matches(name.strip("[]"), list(known), n=1, cutoff=0.0)
    hint = f"; the nearest is {near[0]}" if near else ""
    raise RequestError(f"{where}: unknown setting {name}{hint}")


def _help(item: Setting, command: str) -> str:
    notes = [item.unit, item.range_text, f"default {item.default_text}", f"env {item.env(command)}"]
    return f"{item.doc} ({'; '.join(note for note in notes if note)})"
