"""Samples as columns: the one shape in which points pass between collector, stores, alerting and dashboard."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Times: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]
Numbers: TypeAlias = npt.NDArray[np.float64]
Texts: TypeAlias = npt.NDArray[np.object_]
TagSet: TypeAlias = tuple[tuple[str, str], ...]
"""Tags of a series without its host, sorted by key; an empty value is the same as no tag and is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Rows of one measurement over many hosts.

    `time` (n,) int64 unix milliseconds; `host` (n,) int32 codes into `hosts`; `tagset` (n,) int32 codes into `tagsets`;
    each of `fields` (n,): float64 with NaN where the row has no such field, or object (str or None) for text fields.
    Arrays are shared, never changed in place. In an answer rows are ordered by host name, tag set, time, and
    `resolution_ms` is the width of the rows the answer was made from (0: samples as they were taken).

    In an answer to a grouped query `hosts` is `("",)` unless the query groups by host, and `tagsets` hold the group's
    labels other than host.
    """

    measurement: str
    time: Times
    host: Codes
    hosts: Sequence[str]
    tagset: Codes
    tagsets: Sequence[TagSet]
    fields: Mapping[str, Numbers | Texts]
    resolution_ms: int = 0

    def __len__(self) -> int:
        return len(self.time)

    @property
    def points(self) -> int:
        """How many field values are present."""
        return sum(present(column) for column in self.fields.values())


def present(column: Numbers | Texts) -> int:
    """How many values of a column are there (not NaN, not None)."""
    if column.dtype == object:
        return int(np.count_nonzero(column != None))  # noqa: E711 - elementwise comparison with None
    return int(len(column) - np.count_nonzero(np.isnan(column)))


def empty(measurement: str, fields: Sequence[str] = ()) -> Frame:
    """An answer without rows."""
    none = np.empty(0, np.int32)
    columns = {name: np.empty(0, np.float64) for name in fields}
    return Frame(measurement, np.empty(0, np.int64), none, (), none, (), columns)


@dataclass(frozen=True, slots=True)
class Series:
    """One series as a reader of answers wants it: who, and its columns, all as long as `time`."""

    host: str
    tags: TagSet
    time: Times
    fields: Mapping[str, Numbers | Texts] = field(default_factory=dict)


def split(frame: Frame) -> list[Series]:
    """The series of an ordered answer, in its order."""
    if not len(frame):
        return []
    change = (np.diff(frame.host) != 0) | (np.diff(frame.tagset) != 0)
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(frame)]
    return [
        Series(
            frame.hosts[int(frame.host[a])],
            frame.tagsets[int(frame.tagset[a])],
            frame.time[a:z],
            {name: column[a:z] for name, column in frame.fields.items()},
        )
        for a, z in itertools.pairwise(edges)
    ]
