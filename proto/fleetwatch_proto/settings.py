"""Settings of a process: one flat TOML file into a frozen dataclass.

Precedence: command line > environment `FLEETWATCH_*` > file > default. Every field of a settings class is made with
`setting(default, meaning, unit)`, so that documentation and `--help` can be written from the class itself.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import stat
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS_BYTES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}


class ConfigError(Exception):
    """A setting that cannot be used: names the place, the key and the value. The process exits with 2."""


def setting(default: Any, meaning: str, unit: str = "") -> Any:
    """A dataclass field of a settings class. Units `duration` and `bytes` also take `10s` and `256Mi` in text form."""
    metadata = {"meaning": meaning, "unit": unit}
    if isinstance(default, (list, dict)):
        raise TypeError("a setting's default must be immutable")
    return dataclasses.field(default=default, metadata=metadata)


def load(
    cls: type[T],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    known_elsewhere: frozenset[str] = frozenset(),
) -> T:
    """Settings of class `cls`; `overrides` (command line) whose value is None are not given.

    `known_elsewhere` are keys of the file that another part of the same process reads.

    Raises:
        ConfigError: an unknown key, a value of the wrong kind, an unreadable file.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kinds = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, raw in _read(file).items():
        if key in known_elsewhere and key not in fields:
            continue
        if key not in fields:
            raise ConfigError(f"{file}: unknown setting {key!r}{_suggest(key, [*fields, *known_elsewhere])}")
        values[key] = _convert(raw, kinds[key], fields[key], f"{file}: {key}")
    env = os.environ if environment is None else environment
    for key, field in fields.items():
        name = f"FLEETWATCH_{key.upper()}"
        if name in env:
            values[key] = _convert(env[name], kinds[key], field, f"environment: {name}")
    for key, raw in (overrides or {}).items():
        if raw is not None:
            values[key] = _convert(raw, kinds[key], fields[key], f"command line: {key}")
    return cls(**values)


def duration_s(text: str) -> float:
    """Seconds of `500ms`, `30s`, `1h30m`, `7d`.

    Raises:
        ValueError: no unit, or not a duration at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            if float(text) == 0:
                return 0.0
            raise ValueError(f"duration needs a unit: write {text}s or {text}m")
        raise ValueError(f"{text!r} is not a duration: write 500ms, 30s, 5m, 1h30m or 7d")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def size_bytes(text: str) -> int:
    """Bytes of `256Mi`, `2G` or `1048576`.

    Raises:
        ValueError: not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]|[KMGT]i)?B?", text)
    if not match:
        raise ValueError(f"{text!r} is not a size: write 1048576, 256Mi or 2G")
    return int(float(match[1]) * _UNITS_BYTES[match[2] or ""])


def read_secret(path: Path) -> str:
    """The one line of a secret file.

    Raises:
        ConfigError: missing, empty, or readable by others.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the secret: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: a secret must not be readable by others: run chmod 600 {path}")
    if not text:
        raise ConfigError(f"{path}: the secret is empty")
    return text


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot read settings: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _suggest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _convert(raw: Any, kind: Any, field: dataclasses.Field[Any], where: str) -> Any:
    try:
        return _to(raw, kind, str(field.metadata.get("unit", "")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where} = {raw!r}: {error}") from error


def _to(raw: Any, kind: Any, unit: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not type(None)]
        return None if raw is None else _to(raw, kinds[0], unit)
    if origin is tuple:
        items = raw.split(",") if isinstance(raw, str) else list(raw)
        return tuple(_to(item, typing.get_args(kind)[0], unit) for item in items if item != "")
    if origin is dict or origin is Mapping:
        return dict(_pairs(raw))
    if origin is typing.Literal:
        allowed = typing.get_args(kind)
        if raw not in allowed:
            raise ValueError(f"must be one of {', '.join(map(str, allowed))}")
        return raw
    return _scalar(raw, kind, unit)


def _pairs(raw: Any) -> list[tuple[str, str]]:
    if isinstance(raw, Mapping):
        return [(str(key), str(value)) for key, value in raw.items()]
    pairs = [item.partition("=") for item in (raw.split(",") if isinstance(raw, str) else raw) if item]
    if bad := [key for key, equals, _ in pairs if not equals or not key]:
        raise ValueError(f"{bad[0]!r} is not key=value")
    return [(key, value) for key, _, value in pairs]


def _scalar(raw: Any, kind: Any, unit: str) -> Any:
    if unit == "duration" and isinstance(raw, str):
        return float(duration_s(raw))
    if unit == "bytes" and isinstance(raw, str):
        return size_bytes(raw)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(raw, bool):
            return raw
        if str(raw).lower() not in words:
            raise ValueError("must be true or false")
        return words[str(raw).lower()]
    if kind is Path:
        return Path(raw)
    if kind in (int, float):
        if isinstance(raw, bool):
            raise ValueError("must be a number")
        return kind(raw)
    if kind is str and not isinstance(raw, str):
        raise ValueError("must be text")
    return kind(raw)
