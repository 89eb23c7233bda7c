"""Who writes line protocol, and the series each has made: a bounded number, at a bounded rate."""

from __future__ import annotations

from fleetwatch_storage.frames import TagSet

from fleetwatch_collector.limits import Allowance
from fleetwatch_collector.names import host_problem
from fleetwatch_collector.settings import CollectorSettings

MOST_SERIES_KNOWN = 1_000_000
"""Of all writers together; beyond, those that did not write for longest are forgotten, and start anew."""

Key = tuple[str, str, TagSet]
"""Measurement, host, tags: a series."""


class WriterSeries:
    """The series one writer has made."""

    def __init__(self, settings: CollectorSettings, now_s: float) -> None:
        per_minute = settings.import_series_per_minute
        self._per_minute = per_minute
        self._most = settings.import_series
        self._new = Allowance(per_minute / 60, per_minute, now_s)
        self._known: set[int] = set()

    def __len__(self) -> int:
        return len(self._known)

    def refusal(self, key: Key, now_s: float) -> str:
        """Why a series is not taken; empty when it is, and is known from then on."""
        name = hash(key)
        if name in self._known:
            return ""
        if problem := host_problem(key[1]):
            return problem
        if len(self._known) >= self._most:
            return f"it would be a new series; one writer may have {self._most}: use fewer different tag values"
        if self._new.wait_s(now_s) > 0 or self._new.level < 1:
            return f"it would be a new series; one writer may add {self._per_minute} a minute: send it later"
        self._new.spend(1, now_s)
        self._known.add(name)
        return ""


class Writers:
    """All writers, by any key that tells them apart."""

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self._writers: dict[tuple[str, str], WriterSeries] = {}

    def of(self, key: tuple[str, str], now_s: float) -> WriterSeries:
        """The series of a writer, who is the latest from now on."""
        series = self._writers.pop(key, None) or WriterSeries(self._settings, now_s)
        self._writers[key] = series
        self._forget()
        return series

    def _forget(self) -> None:
        known = sum(map(len, self._writers.values()))
        while len(self._writers) > 1 and (known > MOST_SERIES_KNOWN or len(self._writers) > self._settings.max_hosts):
            known -= len(self._writers.pop(next(iter(self._writers))))
