"""docs/settings.md is what the settings classes say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fleetwatch.settings import server_settings_classes
from fleetwatch.settings_page import default_text, duration_text, kind_text, page, size_text
from fleetwatch_agent.settings import AgentSettings

PAGE = Path(__file__).resolve().parents[2] / "docs/settings.md"


def test_the_settings_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run make settings-page"


@pytest.mark.parametrize("cls", [*server_settings_classes(), AgentSettings], ids=lambda cls: cls.__name__)
def test_every_setting_has_a_meaning_and_is_on_the_page(cls: type) -> None:
    text = PAGE.read_text(encoding="utf-8")

    for field in dataclasses.fields(cls):
        assert field.metadata.get("meaning"), field.name
        assert f"| `{field.name}` |" in text


def test_defaults_are_written_as_they_would_be_typed() -> None:
    assert [duration_text(value) for value in (0.0, 0.5, 10.0, 90.0, 120.0, 7200.0, 604_800.0)] == [
        "0s", "500ms", "10s", "90s", "2m", "2h", "7d",
    ]  # fmt: skip
    assert [size_text(value) for value in (1000, 4096, 268_435_456)] == ["1000", "4Ki", "256Mi"]
    assert [default_text(value, "") for value in (None, "", True, ("a", "b"), 0.5)] == [
        "", "", "`true`", "`a,b`", "`0.5`",
    ]  # fmt: skip


def test_kinds_are_named_for_people() -> None:
    assert kind_text(Path | None) == "path"
    assert kind_text(tuple[str, ...]) == "list"
    assert kind_text(bool) == "true or false"


SHARED = {"data_dir", "query_timeout", "external_url"}
"""Keys that several parts read and that mean the same to all of them."""


def test_a_key_of_the_shared_file_means_one_thing() -> None:
    names = [field.name for cls in server_settings_classes() for field in dataclasses.fields(cls)]

    twice = {name for name in names if names.count(name) > 1}

    assert twice <= SHARED, f"rename {sorted(twice - SHARED)} in one of the parts"
