"""docs/settings.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from contract.settings import COMMANDS, settings_of
from highwater.settings_doc import classes, document

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_made_from_this_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run: python -m highwater.settings_doc > docs/settings.md"
    )


def test_every_command_has_its_settings_on_the_page() -> None:
    page = document()

    assert set(classes()) == set(COMMANDS)
    for command, cls in classes().items():
        for item in settings_of(cls):
            assert item.doc, f"{command}: {item.name} says nothing"
            assert f"`{item.flag}`" in page


def test_a_default_is_a_value_that_its_own_setting_accepts() -> None:
    for cls in classes().values():
        for item in settings_of(cls):
            if isinstance(item.default, (int, float)):
                assert item.minimum is None or item.default >= item.minimum, item.name
                assert item.maximum is None or item.default <= item.maximum, item.name
            if item.choices:
                assert item.default in item.choices, item.name
