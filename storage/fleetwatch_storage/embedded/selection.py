"""Which series a query means, as ids. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fleetwatch_storage import hosttags
from fleetwatch_storage.embedded.layout import SLICE_HOSTS
from fleetwatch_storage.embedded.names import Measurement
from fleetwatch_storage.embedded.rows import Places, series_key
from fleetwatch_storage.embedded.series import Known
from fleetwatch_storage.frames import Codes
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.query import Matcher

_MOST_NAMED = 1000
"""Longest list of ids in a statement; beyond it all rows are read and the wrong ones dropped afterwards."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`series` (n,) is the host id of each.

    `hosts` and `insts` are the ids a statement names, None: all; `keys` are the exact series, sorted, and `mask` says
    them by number, None: what those say; `bounds` is a range of host ids that limits it further.
    """

    series: Codes
    hosts: tuple[int, ...] | None = None
    insts: tuple[int, ...] | None = None
    keys: Places | None = None
    mask: npt.NDArray[np.bool_] | None = None
    bounds: tuple[int, int] | None = None

    def condition(self) -> str:
        """SQL for it, starting with AND, or empty."""
        named = (("host_id", self.hosts), ("inst_id", self.insts))
        within = f" AND host_id >= {self.bounds[0]} AND host_id < {self.bounds[1]}" if self.bounds else ""
        return within + "".join(
            f" AND {name} IN ({', '.join(map(str, ids))})" for name, ids in named if ids is not None
        )

    def pieces(self, count: int) -> list[Selection]:
        """About `count` selections of some hosts each that together are this one."""
        if count <= 1 or not len(self.series):
            return [self]
        edges = np.quantile(self.series, np.linspace(0, 1, count + 1), method="nearest").astype(int).tolist()
        edges = sorted({*edges[:-1], edges[-1] + 1})
        return [replace(self, bounds=bounds) for bounds in itertools.pairwise(edges)]

    def has_slice(self, number: int) -> bool:
        """Whether files of this slice of hosts can hold any of it."""
        first, after = number * SLICE_HOSTS, (number + 1) * SLICE_HOSTS
        if self.bounds is not None and (self.bounds[0] >= after or self.bounds[1] <= first):
            return False
        return self.hosts is None or any(first <= host < after for host in self.hosts)

    def rows(self, host: Codes, inst: Codes) -> Places | None:
        """Places of the rows that belong to it; None: all."""
        if self.keys is None:
            return None
        keys = series_key(host, inst)
        place = np.searchsorted(self.keys, keys)
        place[place == len(self.keys)] = 0
        return np.flatnonzero(self.keys[place] == keys)


def select(
    where: Collection[Matcher], known: Known, hosts: list[str], measurement: Measurement, host_tags: HostTags
) -> Selection:
    """The series that satisfy all conditions."""
    if not where:
        return Selection(known.host)
    mask = hosttags.selected(tuple(where), hosts, measurement.tagsets, known.host, known.inst, host_tags)
    if mask.all():
        return Selection(known.host)
    host, inst = known.host[mask], known.inst[mask]
    named = _named(host, len(hosts)), _named(inst, len(measurement.tagsets))
    return Selection(host, *named, np.sort(series_key(host, inst)), mask)


def _named(ids: Codes, there_are: int) -> tuple[int, ...] | None:
    distinct = np.unique(ids)
    return None if len(distinct) > _MOST_NAMED or len(distinct) == there_are else tuple(distinct.tolist())
