"""The filter box of the fleet page: `web tag:prod os:debian cpu>80 state:critical`, all of it must hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleetwatch_proto.settings import duration_s

from fleetwatch_dashboard.fleet import METRICS, Row
from fleetwatch_dashboard.status import Status

MAX_LENGTH = 500
_COMPARISON = re.compile(r"(\w+)(>=|<=|>|<)(.*)")
_TESTS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, limit: value > limit,
    "<": lambda value, limit: value < limit,
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
}
_NUMBERS = (*METRICS, "age")
_STATES = {
    "crit": Status.CRITICAL,
    "warn": Status.WARNING,
    "none": Status.NODATA,
    "maint": Status.MAINTENANCE,
    **{str(status): status for status in Status},
}
Test = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """What a row must be; `problems` say in words which parts of the text were not understood and are not applied."""

    tests: tuple[Test, ...] = ()
    problems: tuple[str, ...] = ()

    def accepts(self, row: Row) -> bool:
        """Whether every part holds for the row."""
        return all(test(row) for test in self.tests)


def parse(text: str) -> Filter:
    """Reads the text of the filter box; it never fails, it explains."""
    tests, problems = [], []
    for word in text[:MAX_LENGTH].split():
        found = _test(word)
        if isinstance(found, str):
            problems.append(found)
        else:
            tests.append(found)
    return Filter(tuple(tests), tuple(problems))


def apply(text: str, rows: Iterable[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows that fit, and what was not understood."""
    wanted = parse(text)
    return [row for row in rows if wanted.accepts(row)], wanted.problems


def _test(word: str) -> Test | str:
    if comparison := _COMPARISON.fullmatch(word):
        return _compare(*comparison.groups())
    key, colon, value = word.partition(":")
    if colon and key == "state":
        return _state(value)
    if colon and key == "tag":
        return lambda row: _has_tag(row, value.lower())
    if colon and key == "os":
        return lambda row: value.lower() in row.host.facts.os.lower()
    return lambda row: _mentions(row, word.lower())


def _compare(name: str, operator: str, limit: str) -> Test | str:
    if name not in _NUMBERS:
        return f"{name}{operator}{limit}: no column {name}; there are {', '.join(_NUMBERS)}"
    try:
        number = duration_s(limit) if name in ("age", "uptime") else float(limit.removesuffix("%"))
    except ValueError as error:
        reason = str(error) if name in ("age", "uptime") else f"{limit!r} is not a number"
        return f"{name}{operator}{limit}: {reason}"
    test = _TESTS[operator]
    if name == "age":
        return lambda row: test(row.condition.age_ms / 1000, number)
    return lambda row: name in row.values and not row.condition.silent and test(row.values[name], number)


def _state(value: str) -> Test | str:
    status = _STATES.get(value.lower())
    if status is None:
        return f"state:{value}: states are {', '.join(Status)}"
    return lambda row: row.condition.status is status


def _has_tag(row: Row, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    if equals:
        return row.host.tags.get(key, "").lower() == value
    return any(wanted in (tag.lower(), text.lower()) for tag, text in row.host.tags.items())


def _mentions(row: Row, text: str) -> bool:
    facts = row.host.facts
    searched = (
        row.host.name,
        facts.os,
        facts.address,
        row.mount,
        row.process,
        row.condition.reason,
        *row.host.tags.values(),
    )
    return any(text in one.lower() for one in searched)
