"""Rows gathered line by line into frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np

from fleetwatch_storage.frames import Codes, Frame, Numbers, TagSet, Texts
from fleetwatch_storage.lineprotocol.limits import BadLine, LineLimits, check_text
from fleetwatch_storage.lineprotocol.scan import Value

T = TypeVar("T")
Values: TypeAlias = list[Value] | list[float]

_SPARSE = 4
"""Field sets share one frame while it has at most this many cells per value."""


@dataclass(slots=True)
class Rows:
    """Rows with the same measurement and the same fields."""

    measurement: str
    names: tuple[str, ...]
    time: list[int] = field(default_factory=list)
    host: list[int] = field(default_factory=list)
    tagset: list[int] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)


class Gathered:
    """All rows of one call. Hosts and tag sets are coded once for all frames."""

    def __init__(self, limits: LineLimits, text_fields: frozenset[tuple[str, str]]) -> None:
        self._limits = limits
        self._text_fields = text_fields
        self._rows: dict[tuple[str, tuple[str, ...]], Rows] = {}
        self._names: dict[str, set[str]] = {}
        self._hosts: dict[str, int] = {}
        self._tagsets: dict[TagSet, int] = {}

    def host(self, name: str) -> int:
        """The code of a host."""
        return self._hosts.setdefault(name, len(self._hosts))

    def tagset(self, tags: TagSet) -> int:
        """The code of a tag set."""
        return self._tagsets.setdefault(tags, len(self._tagsets))

    def rows(self, measurement: str, names: tuple[str, ...]) -> Rows:
        """Where rows of this measurement with these fields go.

        Raises:
            BadLine: a name that is not allowed, or too many of them.
        """
        known = self._rows.get((measurement, names))
        return known if known is not None else self._admit(measurement, names)

    def _admit(self, measurement: str, names: tuple[str, ...]) -> Rows:
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadLine(f"field {twice!r} is given twice")
        for name in names:
            check_text("field name", name, self._limits.name_bytes)
        if "time" in names:
            raise BadLine("a field must not be called time")
        if len(self._rows) >= self._limits.field_sets:
            raise BadLine(
                f"more than {self._limits.field_sets} different sets of fields at once: send fewer lines at a time"
            )
        together = self._names.get(measurement, set()).union(names)
        if len(together) > self._limits.fields:
            raise BadLine(f"measurement {measurement!r} would have more than {self._limits.fields} fields")
        self._names[measurement] = together
        rows = self._rows[measurement, names] = Rows(measurement, names)
        return rows

    def frames(self) -> list[Frame]:
        """One frame per measurement, or several where its rows have little in common."""
        by_measurement: dict[str, list[Rows]] = {}
        for rows in self._rows.values():
            if rows.time:
                by_measurement.setdefault(rows.measurement, []).append(rows)
        return [self._frame(group) for sets in by_measurement.values() for group in _groups(sets)]

    def _frame(self, group: list[Rows]) -> Frame:
        measurement = group[0].measurement
        lengths = [len(rows.time) for rows in group]
        columns = {
            name: self._column(measurement, name, sum(lengths))
            for name in dict.fromkeys(n for rows in group for n in rows.names)
        }
        start = 0
        for rows, length in zip(group, lengths, strict=True):
            _fill(columns, rows, start, start + length)
            start += length
        hosts, host = _used(tuple(self._hosts), [code for rows in group for code in rows.host])
        tagsets, tagset = _used(tuple(self._tagsets), [code for rows in group for code in rows.tagset])
        time = np.array([at for rows in group for at in rows.time], np.int64)
        return Frame(measurement, time, host, hosts, tagset, tagsets, columns)

    def _column(self, measurement: str, name: str, length: int) -> Numbers | Texts:
        if (measurement, name) in self._text_fields:
            return np.full(length, None, object)
        return np.full(length, np.nan)


def _used(names: tuple[T, ...], codes: list[int]) -> tuple[tuple[T, ...], Codes]:
    """Only the names that occur, and the codes into them."""
    used, recoded = np.unique(np.array(codes, np.int32), return_inverse=True)
    return tuple(names[code] for code in used.tolist()), recoded.astype(np.int32)


def _groups(sets: Iterable[Rows]) -> list[list[Rows]]:
    """Field sets that go into one frame together: as many as keep it from being mostly empty."""
    groups: list[list[Rows]] = []
    names: set[str] = set()
    length = values = 0
    for rows in sorted(sets, key=lambda rows: -len(rows.names)):
        more = names.union(rows.names)
        after = length + len(rows.time), values + len(rows.time) * len(rows.names)
        if groups and after[0] * len(more) <= _SPARSE * after[1]:
            groups[-1].append(rows)
            names, (length, values) = more, after
        else:
            groups.append([rows])
            names, length, values = set(rows.names), len(rows.time), len(rows.time) * len(rows.names)
    return groups


def _fill(columns: dict[str, Numbers | Texts], rows: Rows, start: int, end: int) -> None:
    matrix = np.array(rows.values, object if any(columns[name].dtype == object for name in rows.names) else np.float64)
    for index, name in enumerate(rows.names):
        columns[name][start:end] = matrix[:, index]
