"""Rows as plain Python: frames from them, answers back into them, and a small model of what a query means."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.query import Matcher, Op, Query, Transform

Key = tuple[str, TagSet, int]
Values = dict[str, Any]
Rows = dict[Key, Values]


@dataclass(frozen=True)
class Row:
    """One row as a test writes it; a field that is absent is left out."""

    host: str
    time: int
    fields: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def tagset(self) -> TagSet:
        return tuple(sorted(self.tags.items()))


def frame(measurement: str, rows: Iterable[Row]) -> Frame:
    """The rows as one frame, in the order given."""
    rows = list(rows)
    hosts = list(dict.fromkeys(row.host for row in rows))
    tagsets = list(dict.fromkeys(row.tagset for row in rows))
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    return Frame(
        measurement,
        np.array([row.time for row in rows], np.int64),
        np.array([hosts.index(row.host) for row in rows], np.int32),
        hosts,
        np.array([tagsets.index(row.tagset) for row in rows], np.int32),
        tagsets,
        {name: _column([row.fields.get(name) for row in rows]) for name in names},
    )


def _column(values: list[Any]) -> Any:
    if any(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def rows_of(answer: Frame) -> list[tuple[str, TagSet, int, Values]]:
    """The rows of an answer in its order, absent values left out."""
    found = []
    for i in range(len(answer)):
        values = {name: _plain(column[i]) for name, column in answer.fields.items()}
        there = {name: value for name, value in values.items() if value is not None}
        found.append(
            (answer.hosts[answer.host[i]], tuple(answer.tagsets[answer.tagset[i]]), int(answer.time[i]), there)
        )
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return None if math.isnan(value) else float(value)


def alike(left: Iterable[Any], right: Iterable[Any]) -> bool:
    """Whether two lists of rows are equal, numbers to nine digits."""
    left, right = list(left), list(right)
    if len(left) != len(right):
        return False
    return all(
        a[:3] == b[:3] and a[3].keys() == b[3].keys() and all(_near(a[3][k], b[3][k]) for k in a[3])
        for a, b in zip(left, right, strict=True)
    )


def _near(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, str) or isinstance(b, str) else math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def merged(rows: Iterable[Row]) -> Rows:
    """What a store holds after these rows were written in this order."""
    stored: Rows = {}
    merge(stored, rows)
    return stored


def merge(stored: Rows, rows: Iterable[Row]) -> None:
    """Adds rows to what a store holds."""
    for row in rows:
        there = {name: value for name, value in row.fields.items() if value is not None}
        stored.setdefault((row.host, row.tagset, row.time), {}).update(there)


# The model: the docstrings of query.py said once more, slowly and without numpy.


def expected(
    stored: Rows, query: Query, host_tags: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, TagSet, int, Values]]:
    """The answer to a query, in the order of the seam."""
    series: dict[tuple[str, TagSet], dict[int, Values]] = {}
    for (host, tags, time), values in stored.items():
        if all(_accepts(matcher, host, tags, host_tags) for matcher in query.where):
            series.setdefault((host, tags), {})[time] = values
    answer = {key: _points(by_time, query) for key, by_time in series.items()}
    if query.step_ms:
        answer = {key: _steps(points, query) for key, points in answer.items()}
    if query.group_by is not None:
        answer = _groups(answer, query, host_tags)
    kept = _limit({key: points for key, points in answer.items() if points}, query)
    return [(*key, time, points[time]) for key, points in sorted(kept.items()) for time in sorted(points)]


def _tag(tag: str, host: str, tags: TagSet, host_tags: Mapping[str, Mapping[str, str]]) -> str:
    return host if tag == "host" else dict(tags).get(tag, host_tags.get(host, {}).get(tag, ""))


def _accepts(matcher: Matcher, host: str, tags: TagSet, host_tags: Mapping[str, Mapping[str, str]]) -> bool:
    value = _tag(matcher.tag, host, tags, host_tags)
    return {
        Op.EQ: value == matcher.value,
        Op.NE: value != matcher.value,
        Op.RE: re.fullmatch(matcher.value, value) is not None,
        Op.NRE: re.fullmatch(matcher.value, value) is None,
    }[matcher.op]


def _points(by_time: dict[int, Values], query: Query) -> dict[int, Values]:
    points: dict[int, Values] = {}
    for name in query.fields:
        before: tuple[int, float] | None = None
        for time in sorted(by_time):
            if name not in by_time[time] or time >= query.end_ms:
                continue
            value = by_time[time][name]
            if query.transform is not Transform.NONE:
                usable = before and (time >= query.start_ms) and (before[0] >= query.start_ms - 600_000)
                was, before = before, (time, value)
                value = _change(was, (time, value), query.transform) if usable and was else None
            if value is not None and time >= query.start_ms:
                points.setdefault(time, {})[name] = value
    return points


def _change(before: tuple[int, float], now: tuple[int, float], transform: Transform) -> float | None:
    difference = now[1] - before[1]
    if difference < 0 and transform in (Transform.RATE, Transform.INCREASE):
        return None
    return difference / (now[0] - before[0]) * 1000 if transform in (Transform.RATE, Transform.DERIV) else difference


def _steps(points: dict[int, Values], query: Query) -> dict[int, Values]:
    steps: dict[int, Values] = {}
    for start in sorted({time // query.step_ms * query.step_ms for time in points}):
        inside = [points[time] for time in sorted(points) if start <= time < start + query.step_ms]
        for column, name, aggregate in query.columns():
            summed = query.transform in (Transform.INCREASE, Transform.DELTA)
            value = combine([one[name] for one in inside if name in one], "sum" if summed else aggregate)
            if value is not None:
                steps.setdefault(start, {})[column] = value
    return steps


def combine(values: list[Any], aggregate: str) -> Any:
    """One value of many, in their order; None when there is none."""
    if not values or (aggregate == "stddev" and len(values) < 2):
        return None
    if aggregate in ("p50", "p90", "p95", "p99"):
        return sorted(values)[max(1, math.floor(len(values) * int(aggregate[1:]) / 100 + 0.5)) - 1]
    return {
        "avg": lambda: sum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "sum": lambda: sum(values),
        "count": lambda: float(len(values)),
        "last": lambda: values[-1],
        "first": lambda: values[0],
        "median": lambda: statistics.median(values),
        "stddev": lambda: statistics.stdev(values),
    }[aggregate]()


def _groups(answer: Any, query: Query, host_tags: Mapping[str, Mapping[str, str]]) -> Any:
    members: dict[tuple[str, TagSet], dict[int, dict[str, list[Any]]]] = {}
    for (host, tags), points in sorted(answer.items()):
        values = {tag: _tag(tag, host, tags, host_tags) for tag in query.group_by or ()}
        labels = tuple(sorted((tag, value) for tag, value in values.items() if tag != "host" and value))
        for time, row in points.items():
            columns = members.setdefault((values.get("host", ""), labels), {}).setdefault(time, {})
            for column, value in row.items():
                columns.setdefault(column, []).append(value)
    return {
        group: {
            time: {name: combine(v, query.group_aggregate) for name, v in columns.items()}
            for time, columns in steps.items()
        }
        for group, steps in members.items()
    }


def _limit(answer: Any, query: Query) -> Any:
    if not query.limit:
        return answer
    column = query.columns()[0][0] if query.step_ms else query.fields[0]

    def rank(key: Any) -> Any:
        values = [row[column] for row in answer[key].values() if column in row]
        mean = sum(values) / len(values) if values else None
        if not query.order:
            return (0, 0.0, key)
        return (1, 0.0, key) if mean is None else (0, -mean if query.order == "top" else mean, key)

    return {key: answer[key] for key in sorted(answer, key=rank)[: query.limit]}
