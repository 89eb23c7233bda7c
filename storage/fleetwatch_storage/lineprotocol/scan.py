"""One line of line protocol taken apart: sections, escapes, values.

The grammar is InfluxDB's: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
A backslash escapes a comma, a space and (outside the measurement) an equals sign; before anything else it stands for
itself.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from fleetwatch_storage.lineprotocol.limits import BadLine

Value: TypeAlias = float | str

NO_FIELDS = "no fields: a line is measurement,tag=value field=value timestamp"

_SPACE = re.compile(r"(?<!\\) ")
_COMMA = re.compile(r"(?<!\\),")
_EQUALS = re.compile(r"(?<!\\)=")
_KEY = re.compile(r"(?:\\[, =]|[^,= ])+")
_FIELDS_END = re.compile(r'(?<!\\)(?: |=")')
_BARE = re.compile(r"[^, ]+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"([-+]?[0-9]{1,20})([iu])")
_ESCAPED = re.compile(r"\\([, =])")
_ESCAPED_NAME = re.compile(r"\\([, ])")
_ESCAPED_STRING = re.compile(r'\\(["\\])')
_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)
_RANGES = {"i": (-(2**63), 2**63 - 1), "u": (0, 2**64 - 1)}


def sections(line: str) -> tuple[str, str, str]:
    """Series, fields and timestamp ("" when absent) of a line that may hold escapes and quoted strings.

    Raises:
        BadLine: no fields, or an open string.
    """
    space = _SPACE.search(line)
    if space is None:
        raise BadLine(NO_FIELDS)
    rest = line[space.end() :].lstrip(" ")
    end = _end_of_fields(rest)
    return line[: space.start()], rest[:end], rest[end:].strip(" ")


def _end_of_fields(text: str) -> int:
    position = 0
    while space := _FIELDS_END.search(text, position):
        if space[0] == " ":
            return space.start()
        string = _STRING.match(text, space.start() + 1)
        if string is None:
            raise BadLine("a string is not closed (a string must not go over the end of its line)")
        position = string.end()
    return len(text)


def split_tags(head: str) -> list[str]:
    """Measurement and tags of a series, still escaped."""
    return _COMMA.split(head) if "\\" in head else head.split(",")


def measurement(text: str) -> str:
    """The name of a measurement without its escapes."""
    return _ESCAPED_NAME.sub(r"\1", text)


def tag(text: str) -> tuple[str, str]:
    """Key and value of a tag, unescaped.

    Raises:
        BadLine: a tag without key or value.
    """
    key, *values = _EQUALS.split(text)
    if not key or len(values) != 1:
        raise BadLine(f"tag {text[:64]!r} is not key=value")
    if not values[0]:
        raise BadLine(f"tag {key[:64]!r} has no value")
    return _ESCAPED.sub(r"\1", key), _ESCAPED.sub(r"\1", values[0])


def fields(section: str) -> list[tuple[str, Value]]:
    """Field names and values in the order given.

    Raises:
        BadLine: anything that is not name=value, or a value that is not one.
    """
    found: list[tuple[str, Value]] = []
    position = 0
    while True:
        key = _KEY.match(section, position)
        if key is None or section[key.end() : key.end() + 1] != "=":
            raise BadLine(f"field {section[position : position + 64]!r} is not name=value")
        name = _ESCAPED.sub(r"\1", key[0])
        value, position = _value(name, section, key.end() + 1)
        found.append((name, value))
        if position == len(section):
            return found
        if section[position] != ",":
            raise BadLine(f"field {name!r}: unexpected {section[position : position + 16]!r} after its value")
        position += 1


def _value(name: str, section: str, start: int) -> tuple[Value, int]:
    if section[start : start + 1] == '"':
        string = _STRING.match(section, start)
        if string is None:
            raise BadLine(f"field {name!r}: a string is not closed")
        return _ESCAPED_STRING.sub(r"\1", string[1]), string.end()
    bare = _BARE.match(section, start)
    if bare is None:
        raise BadLine(f"field {name!r} has no value")
    return number(name, bare[0]), bare.end()


def number(name: str, text: str) -> float:
    """A float, integer (`5i`, `5u`) or boolean as float64; integers beyond 2^53 are rounded.

    Raises:
        BadLine: none of these, out of range, or not finite.
    """
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if integer := _INTEGER.fullmatch(text):
        lowest, highest = _RANGES[integer[2]]
        if not lowest <= int(integer[1]) <= highest:
            raise BadLine(f"field {name!r}: {text} does not fit into 64 bits")
        return float(int(integer[1]))
    if not _NUMBER.fullmatch(text):
        raise BadLine(f"field {name!r}: {_not_a_number(text)}")
    value = float(text)
    if value - value != 0:
        raise BadLine(f"field {name!r}: {text[:32]} is too large for a number")
    return value


def _not_a_number(text: str) -> str:
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"{text} is not a number that can be stored; leave the field out"
    return f"{text[:64]!r} is not a number or boolean"
