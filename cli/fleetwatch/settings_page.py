"""docs/settings.md, written from the settings classes: `python -m fleetwatch.settings_page > docs/settings.md`."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetwatch_agent.settings import AgentSettings

from fleetwatch.settings import server_settings_classes

HEAD = """\
# Settings

This page is written from the code by `make settings-page`; a test holds the two together.

A process reads one flat TOML file, named by `--config` or `FLEETWATCH_CONFIG`. What the command line says comes first,
then the environment, `FLEETWATCH_` and the key in capitals, then the file, then the default. The server parts of one
machine may share one file; the agent has its own. An unknown key, a value of the wrong kind or a secret that others can
read ends the process with exit code 2 and a sentence that names file, key and value.

Durations are written `500ms`, `10s`, `5m`, `1h30m`, `7d`; sizes `1048576`, `256Mi`, `2G`; lists as TOML arrays, in the
environment with commas between; maps as TOML tables, in the environment `key=value,key=value`. Secrets are files,
readable by their owner only.
"""
TITLES = {
    "StoreSettings": "Store",
    "CollectorSettings": "Collector",
    "AlertingSettings": "Alerting",
    "DashboardSettings": "Dashboard",
    "ProcessSettings": "Every server process, and the agent that `fleetwatch up` starts",
    "AgentSettings": "Agent",
}


def page() -> str:
    """The whole page."""
    classes = (*server_settings_classes(), AgentSettings)
    return "\n".join([HEAD, *(section for cls in classes for section in _section(cls))])


def _section(cls: type[Any]) -> Iterator[str]:
    yield f"## {TITLES[cls.__name__]}\n"
    yield "| key | kind | default | meaning |\n|---|---|---|---|"
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        unit = str(field.metadata.get("unit", ""))
        cells = (
            f"`{field.name}`",
            unit or kind_text(kinds[field.name]),
            default_text(field.default, unit),
            str(field.metadata["meaning"]).replace("|", "\\|"),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def kind_text(kind: Any) -> str:
    """A type as a person who writes TOML calls it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return kind_text(next(one for one in arguments if one is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    names = {bool: "true or false", int: "number", float: "number", str: "text", Path: "path", tuple: "list"}
    return names.get(origin or kind, "map")


def default_text(value: Any, unit: str) -> str:
    """A default as it would be written."""
    if value is None or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if unit == "duration":
        return f"`{duration_text(value)}`"
    if unit == "bytes":
        return f"`{size_text(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration."""
    for width, letter in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= width and seconds % width == 0:
            return f"{seconds / width:g}{letter}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def size_text(size: int) -> str:
    """The shortest way to write a size."""
    for width, letters in ((1024**3, "Gi"), (1024**2, "Mi"), (1024, "Ki")):
        if size >= width and size % width == 0:
            return f"{size // width}{letters}"
    return str(size)


if __name__ == "__main__":
    sys.stdout.write(page())
