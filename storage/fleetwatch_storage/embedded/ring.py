"""The last rows of every series of a measurement, in memory: they answer what is asked about the last minutes.

Each series has its own ring of `depth` rows, so hosts need not send at the same moment. `since` is the time from which
on a ring is known to hold every row of its series; whoever asks for earlier rows has to look in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.embedded.names import Field
from fleetwatch_storage.embedded.rows import Places, Rows
from fleetwatch_storage.frames import Numbers, Times
from fleetwatch_storage.reduce import is_present

Mask: TypeAlias = npt.NDArray[np.bool_]

_NEVER = -1
_FEW_ROWS = 16
"""Rows of each series that are looked at first."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows ordered by series and time: `series` (n,) is the place of each one's among those asked for."""

    series: Places
    time: Times
    columns: list[Numbers]


class Ring:
    """Rows of `size` series. Of text fields only the last value is kept, as texts take much memory.

    Arrays are (depth, capacity): series that send together lie together, which makes writing several times faster.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.size = 0
        self._time: Times = np.full((depth, 0), _NEVER, np.int64)
        self._slot: Places = np.zeros(0, np.int64)
        self._since: Times = np.zeros(0, np.int64)
        self._numbers: dict[Field, Numbers] = {}
        self._texts: dict[Field, npt.NDArray[np.object_]] = {}

    @property
    def bytes(self) -> int:
        """Memory of the rings."""
        return self._time.nbytes * (1 + len(self._numbers))

    def resize(self, size: int) -> None:
        """Adds series without rows, or takes back those added last."""
        self.size = size
        capacity = self._time.shape[1]
        if size > capacity:
            self._reserve(max(size, 2 * capacity) - capacity)

    def _reserve(self, more: int) -> None:
        absent = np.full((self.depth, more), np.nan)
        self._time = np.concatenate([self._time, np.full((self.depth, more), _NEVER, np.int64)], axis=1)
        self._slot = np.concatenate([self._slot, np.zeros(more, np.int64)])
        self._since = np.concatenate([self._since, np.zeros(more, np.int64)])
        for field, column in self._numbers.items():
            self._numbers[field] = np.concatenate([column, absent], axis=1)
        for field, texts in self._texts.items():
            self._texts[field] = np.concatenate([texts, np.full(more, None, np.object_)])

    def deepened(self, depth: int) -> Ring:
        """The same series and their newest rows in rings of another depth."""
        other, every = Ring(depth), np.arange(self.size)
        other.resize(self.size)
        other._since[: self.size] = self._since[: self.size]
        for field, texts in self._texts.items():
            other._text(field)[: self.size] = texts[: self.size]
        kept = min(depth, self.depth)
        newest = self._places(every, kept).T
        other._time[:kept, : self.size] = self._time.reshape(-1)[newest]
        other._slot[: self.size] = kept % depth
        for field, column in self._numbers.items():
            other._column(field)[:kept, : self.size] = column.reshape(-1)[newest]
        if kept < self.depth:
            dropped = self._time.reshape(-1)[self._places(every, self.depth)[:, : self.depth - kept]]
            other.missed(every, dropped.max(axis=1))
        return other

    def _places(self, series: Places, rows: int) -> Places:
        """Where the newest rows of each series are (n, rows), the oldest first, in arrays made flat."""
        turned = (self._slot[series][:, None] + np.arange(self.depth - rows, self.depth)) % self.depth
        places: Places = turned * self._time.shape[1] + series[:, None]
        return places

    def _last_places(self, series: Places) -> Places:
        places: Places = (self._slot[series] - 1) % self.depth * self._time.shape[1] + series
        return places

    def missed(self, series: Places, ts: Times) -> None:
        """Rows of these times are not in the rings."""
        np.maximum.at(self._since, series, ts + 1)

    def append(self, rows: Rows, series: Places) -> None:
        """One row for each of these series, newer than its last."""
        slot = self._slot[series]
        place = slot * self._time.shape[1] + series
        time = self._time.reshape(-1)
        self._since[series] = np.maximum(self._since[series], time[place] + 1)
        time[place] = rows.ts
        for field, column in rows.fields.items():
            if field.text:
                self._text(field)[series] = column
            else:
                self._column(field).reshape(-1)[place] = column
        for field in self._numbers.keys() - rows.fields.keys():
            self._numbers[field].reshape(-1)[place] = np.nan
        for field in self._texts.keys() - rows.fields.keys():
            self._texts[field][series] = None
        self._slot[series] = (slot + 1) % self.depth

    def amend(self, rows: Rows, series: Places) -> None:
        """One row for each of these series that goes into its last: present fields win."""
        place = self._last_places(series)
        for field, column in rows.fields.items():
            there = np.flatnonzero(is_present(column))
            if field.text:
                self._text(field)[series[there]] = column[there]
            else:
                self._column(field).reshape(-1)[place[there]] = column[there]

    def _column(self, field: Field) -> Numbers:
        if field not in self._numbers:
            self._numbers[field] = np.full(self._time.shape, np.nan)
        return self._numbers[field]

    def _text(self, field: Field) -> npt.NDArray[np.object_]:
        if field not in self._texts:
            self._texts[field] = np.full(self._time.shape[1], None, np.object_)
        return self._texts[field]

    def last(self, series: Places) -> dict[Field, npt.NDArray[Any]]:
        """The values of the last row of these series."""
        place = self._last_places(series)
        numbers = {field: column.reshape(-1)[place] for field, column in self._numbers.items()}
        return {**numbers, **{field: column[series] for field, column in self._texts.items()}}

    def between(self, series: Places, start_ms: int, end_ms: int, before_ms: int, fields: list[Field]) -> Found | None:
        """Rows of these series in `[start_ms, end_ms)` and some from `before_ms` on; None: they may not all be here.

        All from `start_ms` on must be here. Of those before, the last that has the field must be, where there is any.
        """
        if (self._since[series] > start_ms).any() or any(field.text for field in fields):
            return None
        since, depth = self._since[series], 0
        while depth < self.depth:
            depth = min(self.depth, max(_FEW_ROWS, 2 * depth))
            time, columns = self._newest(series, depth, fields)
            inside = (time >= before_ms) & (time < end_ms)
            sure = inside & (time < start_ms) & (time >= since[:, None])
            later = inside & (time >= start_ms)
            if (time[:, 0] < start_ms).all() and (
                before_ms == start_ms or _have_one_before(sure, later, columns).all()
            ):
                return _found(time, inside, columns)
        if ((since <= before_ms) | _have_one_before(sure, later, columns)).all():
            return _found(time, inside, columns)
        return None

    def _newest(self, series: Places, rows: int, fields: list[Field]) -> tuple[Times, list[Numbers | None]]:
        """Times and values (n, rows) of the newest rows of each series, the oldest first."""
        places = self._places(series, rows)
        numbers = [self._numbers.get(field) for field in fields]
        values = [None if column is None else column.reshape(-1)[places] for column in numbers]
        return self._time.reshape(-1)[places], values


def _have_one_before(sure: Mask, later: Mask, columns: Sequence[Numbers | None]) -> Mask:
    """Which series (n,) have, for every field they have `later`, a value among those `sure` to be the last before."""
    have = np.ones(len(sure), np.bool_)
    for column in (column for column in columns if column is not None):
        there = ~np.isnan(column)
        have &= (sure & there).any(1) | ~(later & there).any(1)
    return have


def _found(time: Times, inside: Mask, columns: Sequence[Numbers | None]) -> Found:
    absent = np.full(int(np.count_nonzero(inside)), np.nan)
    series = np.repeat(np.arange(len(time)), np.count_nonzero(inside, axis=1))
    return Found(series, time[inside], [absent if column is None else column[inside] for column in columns])
