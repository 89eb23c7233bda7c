"""A store that keeps frames in a list and can be told to be away, slow or choosy."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fleetwatch_storage.errors import RejectedRow, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame, empty, present
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.store import Health, SeriesKey

Row = tuple[str, str, tuple[tuple[str, str], ...], int]
"""Measurement, host, tags, time."""


class ListStore:
    """Keeps every frame that was written, in `frames`; look when it is idle."""

    def __init__(self) -> None:
        self.commit_lag_s = 0.0
        self.frames: list[Frame] = []
        self.writes = 0
        self.attempts = 0
        self.away: Exception | None = None
        self.rejects: tuple[str, str] | None = None  # measurement, reason
        self.open = threading.Event()  # cleared: writes block
        self.open.set()
        self.known_hosts: list[Host] = []

    def write(self, frames: Sequence[Frame]) -> None:
        self.attempts += 1
        self.open.wait(30)
        if self.away is not None:
            raise self.away
        self.frames += frames
        self.writes += 1
        if self.rejects is not None:
            self._reject(frames, *self.rejects)

    def _reject(self, frames: Sequence[Frame], measurement: str, reason: str) -> None:
        rows = [
            RejectedRow(measurement, f"{measurement},host={frame.hosts[frame.host[row]]} x=1 {frame.time[row]}", reason)
            for frame in frames
            if frame.measurement == measurement
            for row in range(len(frame))
        ]
        if rows:
            raise WriteRejected(rows)

    def values(self) -> dict[Row, dict[str, float | str]]:
        """Every row with its fields that are there, later ones over earlier ones."""
        rows: dict[Row, dict[str, float | str]] = {}
        for frame in self.frames:
            for place in range(len(frame)):
                host, tags = frame.hosts[frame.host[place]], frame.tagsets[frame.tagset[place]]
                row = rows.setdefault((frame.measurement, host, tags, int(frame.time[place])), {})
                row.update(
                    {name: column[place] for name, column in frame.fields.items() if present(column[place : place + 1])}
                )
        return rows

    def hosts_written(self) -> set[str]:
        """Hosts of all rows."""
        return {host for _, host, _, _ in self.values()}

    def read(self, query: Query) -> Frame:
        if self.away is not None:
            raise self.away
        found = [frame for frame in self.frames if frame.measurement == query.measurement]
        return found[0] if found else empty(query.measurement, query.fields)

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        return [frame for frame in self.frames if not measurements or frame.measurement in measurements]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        keys = {(name, host, tags) for name, host, tags, _ in self.values() if not measurement or name == measurement}
        return [SeriesKey(name, host, tags, ()) for name, host, tags in sorted(keys)]

    def hosts(self) -> list[Host]:
        return self.known_hosts

    def health(self) -> Health:
        return Health(self.away is None, self.away is None, "list", str(self.away or ""))

    def close(self) -> None:
        pass


def away(reason: str = "down", retry_after_s: float | None = None) -> StoreUnavailable:
    """What a store raises that cannot be reached."""
    return StoreUnavailable("the store is away", reason=reason, retry_after_s=retry_after_s)
