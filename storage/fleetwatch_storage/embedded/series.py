"""What is known of each series in memory: which exist, the time of its last row, and that row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetwatch_storage.embedded.names import Measurement, Ranking
from fleetwatch_storage.embedded.ring import Ring
from fleetwatch_storage.embedded.rows import Places, Rows, series_key
from fleetwatch_storage.frames import Codes, Frame, Times
from fleetwatch_storage.reduce import run_starts

MOST_ROWS = 64
"""Rows of a series kept in memory, when there is memory for as many: ten minutes at ten seconds."""

_NEVER = -1


@dataclass(frozen=True, slots=True)
class Known:
    """The series of a measurement as readers see them: (n,) host and tag set ids, never changed in place."""

    host: Codes
    inst: Codes

    def __len__(self) -> int:
        return len(self.host)


class SeriesTable:
    """The series of one measurement, numbered in the order they came. One thread changes it, any may read `known`.

    `ring` and `last` are guarded by the state's memory lock.
    """

    def __init__(self, depth: int = MOST_ROWS) -> None:
        self.known = Known(np.empty(0, np.int32), np.empty(0, np.int32))
        self.last: Times = np.empty(0, np.int64)
        self.ring = Ring(depth)
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
        self.ring.resize(len(self.known))
        self._sort()

    def remove_last(self, count: int) -> None:
        """Takes back the `count` series added last."""
        left = len(self.known) - count
        self.known = Known(self.known.host[:left], self.known.inst[:left])
        self.last = self.last[:left]
        self.ring.resize(left)
        self._sort()

    def _sort(self) -> None:
        self._in_order = np.empty(0, np.int64)
        keys = series_key(self.known.host, self.known.inst)
        self._number_of = np.argsort(keys, kind="stable")
        self._sorted_keys = keys[self._number_of]

    def distrust(self, before_ms: int) -> None:
        """After a start: rows before this time are in the database only."""
        self.ring.missed(np.arange(len(self.known)), np.full(len(self.known), before_ms - 1))

    def remember(self, rows: Rows, series: Places) -> None:
        """After a start: the last row of some series; what was before it is in the database only."""
        if len(rows):
            self.note(rows, series)
        self.ring.missed(series, rows.ts - 1)

    def note(self, rows: Rows, series: Places) -> None:
        """Takes over rows that were written, each series and time once."""
        last = self.last[series]
        newer, same = rows.ts > last, rows.ts == last
        if newer.all():
            self._append(rows, series)
            return
        older = ~(newer | same)
        self.ring.missed(series[older], rows.ts[older])
        if same.any():
            self.ring.amend(rows.take(same), series[same])
        if newer.any():
            self._append(rows.take(newer), series[newer])

    def _append(self, rows: Rows, series: Places) -> None:
        """Rows newer than the last of their series, the older ones of a series first, no more than a ring holds."""
        if np.bincount(series).max() > 1:
            order = np.lexsort((rows.ts, series))
            ends = np.append(run_starts(series[order]), len(order))
            from_end = np.repeat(ends[1:], np.diff(ends)) - np.arange(len(order))
            too_many = order[from_end > self.ring.depth]
            self.ring.missed(series[too_many], rows.ts[too_many])
            for turn in range(min(int(from_end.max()), self.ring.depth), 0, -1):
                self._append_one(rows.take(order[from_end == turn]), series[order[from_end == turn]])
        else:
            self._append_one(rows, series)

    def _append_one(self, rows: Rows, series: Places) -> None:
        self.ring.append(rows, series)
        self.last[series] = rows.ts

    def in_order(self, measurement: Measurement, hosts: Ranking[str]) -> Places:
        """The numbers of all series, ordered by host name and tag set."""
        if len(self._in_order) != len(self.known):
            ranks = measurement.ranking.now()[1][self.known.inst], hosts.now()[1][self.known.host]
            self._in_order = np.lexsort(ranks)
        return self._in_order

    def latest(self, measurement: Measurement, hosts: Ranking[str], oldest_ms: int) -> Frame:
        """The last row of every series that is not older, ordered by host name and tag set."""
        every = self.in_order(measurement, hosts)
        rows = every[self.last[every] >= oldest_ms]
        fields = {field.name: column for field, column in self.ring.last(rows).items()}
        return self.frame(measurement, hosts, rows, self.last[rows], fields)

    def frame(
        self, measurement: Measurement, hosts: Ranking[str], series: Places, time: Times, fields: dict[str, Any]
    ) -> Frame:
        """Rows of series given by number as a frame over all names in order."""
        names, host_rank = hosts.now()
        tagsets, inst_rank = measurement.ranking.now()
        codes = host_rank[self.known.host[series]], names, inst_rank[self.known.inst[series]], tagsets
        return Frame(measurement.name, time, *codes, fields)
