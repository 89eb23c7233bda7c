"""Scalars of the rule file. Each function takes a node, returns a value, and raises ValueError with what to write."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleetwatch_proto import settings
from fleetwatch_storage.patterns import compile_pattern
from fleetwatch_storage.query import Matcher, Op

from fleetwatch_alerting.rules.document import described, is_text
from fleetwatch_alerting.rules.schema import Secret
from fleetwatch_alerting.spelling import suggestion

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
MAX_TEXT = 8192

_SUFFIXES = {
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "%": 1.0,
    "": 1.0,
}
_SECRET = re.compile(r"\$\{(file:)?([^}]*)\}")


def text(node: Any) -> str:
    """Any scalar, as it was written."""
    if node.id != "scalar":
        raise ValueError(f"expected text, not {described(node)}")
    if len(node.value) > MAX_TEXT:
        raise ValueError(f"longer than {MAX_TEXT} characters")
    return str(node.value)


def name(node: Any) -> str:
    """An identifier."""
    value = text(node)
    if not NAME.fullmatch(value):
        raise ValueError(f'"{value[:80]}" is not a name: letters, digits and _ . : - , starting with a letter')
    return value


def label(node: Any) -> str:
    """A label name."""
    value = text(node)
    if not LABEL.fullmatch(value):
        raise ValueError(f'"{value[:80]}" is not a label name: letters, digits and _, starting with a letter')
    return value


def duration_ms(node: Any) -> int:
    """`30s`, `1h30m`; a number without a unit is an error, zero is not."""
    value = text(node)
    seconds = settings.duration_s(value)
    if seconds > 3650 * 86400:
        raise ValueError(f"{value} is longer than ten years")
    return round(seconds * 1000)


def positive_duration_ms(node: Any) -> int:
    """A duration of at least a second."""
    found = duration_ms(node)
    if found < 1000:
        raise ValueError(f"{text(node)} is too short: at least 1s")
    return found


def number(node: Any) -> float:
    """`90`, `90%`, `5Gi`, `2k`; as it is compared with the metric's own unit."""
    written = text(node).strip()
    found = re.fullmatch(r"([-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)", written)
    if not found or found[2] not in _SUFFIXES:
        if found2 := re.match(r"\s*([<>]=?)\s*(.*)", written):
            word = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}[found2[1]]
            raise ValueError(f'"{written}" is not a number; write  {word}: {found2[2] or 90}')
        raise ValueError(f'"{written[:80]}" is not a number: write 90, 90%, 5Gi or 2k')
    value = float(found[1].replace("_", "")) * _SUFFIXES[found[2]]
    if not math.isfinite(value):
        raise ValueError(f"{written} is too large")
    return value


def count(low: int, high: int) -> Callable[[Any], int]:
    """A whole number within bounds."""

    def convert(node: Any) -> int:
        value = text(node)
        if not re.fullmatch(r"\d+", value) or not low <= int(value) <= high:
            raise ValueError(f"{value[:40]} is not a whole number from {low} to {high}")
        return int(value)

    return convert


def flag(node: Any) -> bool:
    """true or false."""
    value = text(node)
    if value not in ("true", "false", "True", "False"):
        raise ValueError(f'write true or false, not "{value[:40]}"')
    return value.lower() == "true"


def choice(*allowed: str, later: tuple[str, ...] = ()) -> Callable[[Any], str]:
    """One of some words; `later` are words of the full language that this version does not do yet."""

    def convert(node: Any) -> str:
        value = text(node)
        if value in later:
            raise ValueError(f'"{value}" is not supported yet; use one of {", ".join(allowed)}')
        if value not in allowed:
            raise ValueError(f'"{value[:80]}" is not one of {", ".join(allowed)}{suggestion(value, allowed)}')
        return value

    return convert


def labels(node: Any) -> tuple[str, ...]:
    """A list of label names; one may be written without the brackets."""
    nodes = node.value if node.id == "sequence" else [node]
    found = tuple(label(one) for one in nodes)
    if len(set(found)) != len(found):
        raise ValueError("names a label twice")
    return found


def names(node: Any) -> tuple[str, ...]:
    """A list of names; one may be written without the brackets."""
    return tuple(name(one) for one in (node.value if node.id == "sequence" else [node]))


def url(node: Any) -> str:
    """An http or https address."""
    value = text(node).strip()
    checked_url(value)
    return value.rstrip("/")


def checked_url(value: str) -> None:
    """Refuses what is not an http or https address, without repeating it: it may hold a secret."""
    try:
        parts = urlsplit(value)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        ok = False
    if not ok or any(ord(char) <= 32 or ord(char) == 127 for char in value):
        raise ValueError("not an http:// or https:// address")


def matchers(node: Any) -> tuple[Matcher, ...]:
    """`{env: prod, "host!~": "ci-.*", fstype: [ext4, xfs]}`: the operator is the key's suffix, a list means any of."""
    if node.id != "mapping":
        raise ValueError(f"expected a mapping of labels to values, not {described(node)}")
    return tuple(_matcher(text(key), value) for key, value in node.value)


def _matcher(key: str, node: Any) -> Matcher:
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|!|=|)", key)
    if not found:
        raise ValueError(f"\"{key[:80]}\" is not a label with an operator: write host, 'host!', 'host=~' or 'host!~'")
    op = Op({"": "=", "!": "!="}.get(found[2], found[2]))
    if node.id == "sequence":
        return Matcher(found[1], *_any_of(key, op, [text(one) for one in node.value]))
    value = text(node)
    if op in (Op.RE, Op.NRE):
        _pattern(key, value)
    return Matcher(found[1], op, value)


def _any_of(key: str, op: Op, values: list[str]) -> tuple[Op, str]:
    if op in (Op.RE, Op.NRE):
        for value in values:
            _pattern(key, value)
        return op, "|".join(f"(?:{value})" for value in values)
    return (Op.RE if op is Op.EQ else Op.NRE), "|".join(re.escape(value) for value in values)


def _pattern(key: str, value: str) -> None:
    try:
        compile_pattern(value)
    except ValueError as error:
        raise ValueError(f"matcher '{key}': bad regular expression: {error}") from error


def secret(environment: Mapping[str, str] | None, *, literal: bool) -> Callable[[Any], Secret]:
    """`${ENV}` or `${file:/path}`, whole or as part of a text; without either only where `literal` allows it.

    `environment` None: the process's. A secret is never repeated in a message.
    """
    known = os.environ if environment is None else environment

    def convert(node: Any) -> Secret:
        written = text(node).strip()
        if not is_text(node) or not written:
            raise ValueError("expected text")
        if not literal and not _SECRET.search(written):
            raise ValueError('a secret does not belong in this file: write "${SLACK_WEBHOOK_URL}" or "${file:/path}"')
        return Secret(_SECRET.sub(lambda found: _looked_up(found[1], found[2], known), written))

    return convert


def _looked_up(kind: str | None, where: str, environment: Mapping[str, str]) -> str:
    if kind is None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", where):
            raise ValueError("write ${NAME} with the name of an environment variable, or ${file:/path}")
        if not environment.get(where):
            raise ValueError(f"the environment variable {where} is not set")
        return environment[where]
    try:
        return settings.read_secret(Path(where))
    except settings.ConfigError as error:
        raise ValueError(str(error)) from error
