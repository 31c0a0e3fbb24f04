"""docs/settings.md from the code: `python -m highwater.settings_doc > docs/settings.md`."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from contract.settings import COMMANDS, CommonSettings, settings_of

SETTINGS = {
    "audit": "highwater.audit.config.AuditSettings",
    "breaker": "highwater.breaker.BreakerSettings",
    "broker": "highwater.broker.BrokerSettings",
    "cost": "highwater.cost.command.CostSettings",
    "demo": "highwater.demo.DemoSettings",
    "feed live": "ingest.feeds.config.LiveSettings",
    "feed replay": "ingest.feeds.config.ReplaySettings",
    "feed synthetic": "ingest.feeds.config.SyntheticSettings",
    "ingest": "ingest.config.IngestSettings",
    "maintain": "ingest.maintenance.config.MaintainSettings",
    "serve": "flight_server.config.ServeSettings",
    "simulate": "highwater.simulate.command.SimulateSettings",
    "sql": "highwater.sql.SqlSettings",
    "user add": "highwater.user.UserAddSettings",
    "user list": "highwater.user.UserListSettings",
    "user remove": "highwater.user.UserRemoveSettings",
    "user token": "highwater.user.UserTokenSettings",
    "verify": "highwater.verify.config.VerifySettings",
    "status": "highwater.status.StatusSettings",
}
_HEAD = """\
# Settings

Made from the code by `python -m highwater.settings_doc > docs/settings.md`; a test compares.

A setting can be given in four places. The first of these wins:

1. the flag, `--port 9`;
2. the environment: `HIGHWATER_SERVE_PORT=9` for one command, `HIGHWATER_DATA_DIR=/data` for a
   common setting of all commands. The variable of the command wins over the common one;
3. one TOML file: `--config FILE`, else `HIGHWATER_CONFIG`, else `highwater.toml` of the working
   directory if it is there. A command reads its own section (`[serve]`, `[feed.replay]`), then
   `[common]`;
4. the default.

A name that no setting has is refused, together with the nearest one that exists; so is a value of
another type or out of range. What belongs to another command is left to that command.

Lists: repeat the flag or separate by commas (`--tables trades,quotes`); a list in TOML. Tables:
repeat the flag as `KEY=VALUE` (`KEY=VALUE,KEY=VALUE` in the environment); a table in TOML. Yes/no:
`--name` and `--no-name`; `yes` or `no` in the environment; `true` or `false` in TOML.

```toml
[common]
data_dir = "/var/lib/highwater"
kafka = "kafka-1:9092,kafka-2:9092"

[common.catalog_properties]
type = "rest"

[serve]
port = 31337
```
"""


def classes() -> dict[str, type[Any]]:
    """The settings class of each command of this installation."""
    found = {}
    for command, path in SETTINGS.items():
        module, _, name = path.rpartition(".")
        if find_spec(module) is not None:
            found[command] = getattr(importlib.import_module(module), name)
    assert set(found) <= set(COMMANDS)
    return found


def document() -> str:
    """The whole page."""
    parts = [_HEAD, "## Common settings: `[common]`\n", _table(CommonSettings, "common", True)]
    for command, cls in classes().items():
        section = command.replace(" ", ".")
        shared = [f"`{item.name}`" for item in settings_of(cls) if item.common]
        parts += [f"## highwater {command}: `[{section}]`\n", _table(cls, command, False)]
        if shared:
            parts.append(f"And the common settings {', '.join(shared)}.\n")
    return "\n".join(parts)


def _table(cls: type[Any], command: str, common: bool) -> str:
    rows = [
        "| Setting | Type | Unit | Default | Range | Variable | |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in settings_of(cls):
        if item.common is common:
            cells = (
                f"`{item.flag}`",
                item.kind_name,
                item.unit,
                f"`{item.default_text}`",
                item.range_text,
                f"`{item.env(command)}`",
                item.doc,
            )
            rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(document(), end="")
