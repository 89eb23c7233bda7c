"""What is known of each series in memory: which exist, the time of its last row, and that row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.embedded.names import Field, Measurement, Ranking
from fleetwatch_storage.embedded.rows import Places, Rows, series_key
from fleetwatch_storage.frames import Codes, Frame, Times

_NEVER = -1


@dataclass(frozen=True, slots=True)
class Known:
    """The series of a measurement as readers see them: (n,) host and tag set ids, never changed in place."""

    host: Codes
    inst: Codes

    def __len__(self) -> int:
        return len(self.host)


class SeriesTable:
    """The series of one measurement, numbered in the order they came. One thread changes it, any may read `known`."""

    def __init__(self) -> None:
        self.known = Known(np.empty(0, np.int32), np.empty(0, np.int32))
        self.last: Times = np.empty(0, np.int64)
        self._values: dict[Field, npt.NDArray[Any]] = {}
        self._sorted_keys: Places = np.empty(0, np.int64)
        self._number_of: Places = np.empty(0, np.int64)
        self._in_order: Places = np.empty(0, np.int64)

    def find(self, keys: Places) -> Places:
        """The number of each row's series (n,); -1 where it is not known."""
        if not len(self._sorted_keys):
            return np.full(len(keys), _NEVER, np.int64)
        place = np.searchsorted(self._sorted_keys, keys)
        place[place == len(self._sorted_keys)] = 0
        return np.where(self._sorted_keys[place] == keys, self._number_of[place], _NEVER)

    def unknown(self, rows: Rows) -> tuple[Codes, Codes]:
        """Host and tag set ids of the series of these rows that are not known, each once."""
        keys = np.unique(rows.keys)
        new = keys[self.find(keys) == _NEVER]
        return (new >> 32).astype(np.int32), (new & 0xFFFFFFFF).astype(np.int32)

    def add(self, host: Codes, inst: Codes) -> None:
        """New series, numbered from the last on."""
        self.known = Known(np.concatenate([self.known.host, host]), np.concatenate([self.known.inst, inst]))
        self.last = np.concatenate([self.last, np.full(len(host), _NEVER, np.int64)])
        for field, column in self._values.items():
            self._values[field] = np.concatenate([column, _absent(field, len(host))])
        self._sort()

    def _sort(self) -> None:
        self._in_order = np.empty(0, np.int64)
        keys = series_key(self.known.host, self.known.inst)
        self._number_of = np.argsort(keys, kind="stable")
        self._sorted_keys = keys[self._number_of]

    def remove_last(self, count: int) -> None:
        """Takes back the `count` series added last."""
        left = len(self.known) - count
        self.known = Known(self.known.host[:left], self.known.inst[:left])
        self.last = self.last[:left]
        self._values = {field: column[:left] for field, column in self._values.items()}
        self._sort()

    def note(self, rows: Rows, series: Places) -> None:
        """Takes over rows that were written, each series and time once, where they are not older than what is known."""
        current = np.flatnonzero(rows.ts >= self.last[series])
        if len(current) < len(rows):
            rows, series = rows.take(current), series[current]
        newest = self._newest(rows, series)
        if newest is not None:
            rows, series = rows.take(newest), series[newest]
        newer = rows.ts > self.last[series]
        self._replace(rows, series) if newer.all() else self._merge(rows, series, newer)
        self.last[series] = rows.ts

    @staticmethod
    def _newest(rows: Rows, series: Places) -> Places | None:
        """Places of the newest row per series; None when there is only one of each."""
        if not len(rows) or np.bincount(series).max() <= 1:
            return None
        order = np.lexsort((rows.ts, series))
        last: Places = order[np.append(np.diff(series[order]) != 0, True)]
        return last

    def _replace(self, rows: Rows, series: Places) -> None:
        for field, column in rows.fields.items():
            self._column(field)[series] = column
        for field in self._values.keys() - rows.fields.keys():
            self._values[field][series] = None if field.text else np.nan

    def _merge(self, rows: Rows, series: Places, newer: npt.NDArray[np.bool_]) -> None:
        self._replace(rows.take(newer), series[newer])
        same = rows.take(~newer)
        for field, column in same.fields.items():
            there = np.asarray(column != None) if field.text else ~np.isnan(column)  # noqa: E711 - elementwise
            self._column(field)[series[~newer][there]] = column[there]

    def _column(self, field: Field) -> npt.NDArray[Any]:
        if field not in self._values:
            self._values[field] = _absent(field, len(self.last))
        return self._values[field]

    def latest(self, measurement: Measurement, hosts: Ranking[str], oldest_ms: int) -> Frame:
        """The last row of every series that is not older, ordered by host name and tag set."""
        names, host_rank = hosts.now()
        tagsets, inst_rank = measurement.ranking.now()
        if len(self._in_order) != len(self.last):
            self._in_order = np.lexsort((inst_rank[self.known.inst], host_rank[self.known.host]))
        rows = self._in_order[self.last[self._in_order] >= oldest_ms]
        fields = {field.name: column[rows] for field, column in self._values.items()}
        codes = host_rank[self.known.host[rows]], names, inst_rank[self.known.inst[rows]], tagsets
        return Frame(measurement.name, self.last[rows], *codes, fields)


def _absent(field: Field, rows: int) -> npt.NDArray[Any]:
    return np.full(rows, None, np.object_) if field.text else np.full(rows, np.nan)
