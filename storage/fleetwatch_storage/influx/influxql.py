"""Queries as InfluxQL. Pure. Names are quoted here, values travel as bound parameters.

A statement's answer may hold more series than were asked for (conditions on host tags and patterns that the two regular
expression dialects may read differently are not all compiled); whoever reads it selects again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.query import Matcher, Op, Query, Transform
from fleetwatch_storage.reduce import effective

_FUNCTIONS = {
    "avg": "mean({})",
    "min": "min({})",
    "max": "max({})",
    "sum": "sum({})",
    "count": "count({})",
    "last": "last({})",
    "first": "first({})",
    "median": "median({})",
    "stddev": "stddev({})",
    "p50": "percentile({}, 50)",
    "p90": "percentile({}, 90)",
    "p95": "percentile({}, 95)",
    "p99": "percentile({}, 99)",
}
_TRANSFORMS = {
    Transform.RATE: "non_negative_derivative({}, 1s)",
    Transform.INCREASE: "non_negative_difference({})",
    Transform.DELTA: "difference({})",
    Transform.DERIV: "derivative({}, 1s)",
}
_MOST_HOSTS_NAMED = 200
_LAST_MS = (2**63 - 1) // 1_000_000
"""The last time InfluxDB knows, in its nanoseconds."""
_SAME_IN_BOTH = re.compile(r"(?:[\w-]|\.[*+?]?|\||\((?!\?)|\)(?![*+?]))*", re.ASCII)
"""Patterns that Python and RE2 read alike: words, dots with one quantifier, alternatives, plain groups."""


@dataclass(frozen=True, slots=True)
class Statement:
    """InfluxQL, the values of its parameters, and the names of the columns after `time`."""

    text: str
    columns: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)


def identifier(name: str) -> str:
    """A quoted name."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def place_of(database: str, measurement: str, policy: str = "") -> str:
    """A measurement of a retention policy (the default one when empty), for FROM."""
    return f"{identifier(database)}.{identifier(policy) if policy else ''}.{identifier(measurement)}"


def samples(query: Query, place: str, host_tags: HostTags, start_ms: int) -> Statement:
    """Stored rows of the query's fields in [start_ms, end), every series by itself."""
    where = _Where(query, host_tags)
    columns = ", ".join(f"{_field(name)} AS {identifier(f'c{i}')}" for i, name in enumerate(query.fields))
    text = f"SELECT {columns} FROM {place} WHERE {where.within(start_ms)} GROUP BY *"
    return Statement(text, query.fields, where.parameters)


def steps(query: Query, place: str, host_tags: HostTags, start_ms: int) -> Statement:
    """One row per series and step of a query without transform, from `start_ms` on."""
    where = _Where(query, host_tags)
    columns = [
        f"{_FUNCTIONS[aggregate].format(_field(name))} AS {identifier(f'c{i}')}"
        for i, (_, name, aggregate) in enumerate(query.columns())
    ]
    text = f"SELECT {', '.join(columns)} FROM {place} WHERE {where.within(start_ms)} {_by_step(query)}"
    return Statement(text, tuple(name for name, _, _ in query.columns()), where.parameters)


def transformed_steps(query: Query, place: str, host_tags: HostTags, start_ms: int) -> Statement:
    """One row per series and step of a query with transform, made of samples from `start_ms` on.

    The transform is an inner query: the sample before the first has to lie in the range of the outer one too, so that
    the steps at the beginning of the answer only serve for that.
    """
    where = _Where(query, host_tags)
    inner = ", ".join(
        f"{_TRANSFORMS[query.transform].format(_field(name))} AS {identifier(f'f{i}')}"
        for i, name in enumerate(query.fields)
    )
    numbers = {name: i for i, name in enumerate(query.fields)}
    outer = ", ".join(
        f"{_FUNCTIONS[effective(query, aggregate)].format(identifier(f'f{numbers[name]}'))} AS {identifier(f'c{i}')}"
        for i, (_, name, aggregate) in enumerate(query.columns())
    )
    within = where.within(start_ms)
    times = where.times(start_ms)
    text = (
        f"SELECT {outer} FROM (SELECT {inner} FROM {place} WHERE {within} GROUP BY *) WHERE {times} {_by_step(query)}"
    )
    return Statement(text, tuple(name for name, _, _ in query.columns()), where.parameters)


def rolled_steps(query: Query, place: str, host_tags: HostTags, start_ms: int) -> Statement:
    """As `steps`, from roll-ups; what these do not hold (median, pNN, stddev, first) is taken of their means."""
    where = _Where(query, host_tags)
    inner, outer = [], []
    for i, name in enumerate(query.fields):
        mean, count = (_field(f"{kind}_{name}") for kind in ("mean", "count"))
        inner += [f"{mean} AS m{i}", f"{count} AS n{i}", f"{mean} * {count} AS s{i}"]
        inner += [f"{_field(f'{kind}_{name}')} AS {kind}{i}" for kind in ("min", "max", "last")]
    numbers = {name: i for i, name in enumerate(query.fields)}
    for i, (_, name, aggregate) in enumerate(query.columns()):
        wanted = _OF_ROLLUPS.get(aggregate, _FUNCTIONS[aggregate].format("m{0}")).format(numbers[name])
        outer.append(f"{wanted} AS {identifier(f'c{i}')}")
    source = f"(SELECT {', '.join(inner)} FROM {place} WHERE {where.within(start_ms)} GROUP BY *)"
    text = f"SELECT {', '.join(outer)} FROM {source} WHERE {where.times(start_ms)} {_by_step(query)}"
    return Statement(text, tuple(name for name, _, _ in query.columns()), where.parameters)


_OF_ROLLUPS = {
    "avg": "sum(s{0}) / sum(n{0})",
    "sum": "sum(s{0})",
    "count": "sum(n{0})",
    "min": "min(min{0})",
    "max": "max(max{0})",
    "last": "last(last{0})",
}


def _field(name: str) -> str:
    return f"{identifier(name)}::field"


def _by_step(query: Query) -> str:
    return f"GROUP BY time({query.step_ms}ms), * fill(none)"


class _Where:
    """The condition of a query, and its parameters."""

    def __init__(self, query: Query, host_tags: HostTags) -> None:
        self.parameters: dict[str, str] = {}
        self._end_ms = query.end_ms
        self._tags = [text for matcher in query.where if (text := self._condition(matcher, host_tags))]

    def times(self, start_ms: int) -> str:
        return f"time >= {max(start_ms, 0)}ms AND time < {max(min(self._end_ms, _LAST_MS), 0)}ms"

    def within(self, start_ms: int) -> str:
        return " AND ".join([self.times(start_ms), *self._tags])

    def _condition(self, matcher: Matcher, host_tags: HostTags) -> str:
        """A condition that every series satisfies that the matcher accepts; empty for none."""
        if matcher.accepts(""):
            return ""  # series without the tag belong to the answer, and the server may not know the tag at all
        if matcher.tag == "host":
            return self._own_tag(matcher)
        hosts = _hosts_with(matcher, host_tags)
        if not hosts:
            return self._own_tag(matcher)
        own = self._own_tag(matcher)
        if not own or len(hosts) > _MOST_HOSTS_NAMED:
            return ""
        return f"({' OR '.join([own, *(self._equals('host', host) for host in hosts)])})"

    def _own_tag(self, matcher: Matcher) -> str:
        if matcher.op is Op.EQ:
            return self._equals(matcher.tag, matcher.value)
        if matcher.op is Op.RE and _SAME_IN_BOTH.fullmatch(matcher.value):
            return f"{identifier(matcher.tag)}::tag =~ /^(?:{matcher.value})$/"
        return ""

    def _equals(self, tag: str, value: str) -> str:
        name = f"v{len(self.parameters)}"
        self.parameters[name] = value
        return f"{identifier(tag)}::tag = ${name}"


def _hosts_with(matcher: Matcher, host_tags: HostTags) -> Sequence[str]:
    """Hosts whose own tag satisfies the matcher."""
    return [host for host, tags in host_tags.items() if matcher.accepts(tags.get(matcher.tag, ""))]
