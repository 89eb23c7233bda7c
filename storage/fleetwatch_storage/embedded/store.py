"""The embedded store: the seam, put together from writing, reading and maintenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from fleetwatch_storage import hosttags, reduce
from fleetwatch_storage.embedded import faults, layout, names
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.reading import Reader
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.embedded.writing import Write
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.store import Health, SeriesKey

_LATEST_MS = 3_600_000


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedStore:
    """A store in one folder of this machine; one process at a time."""

    commit_lag_s = 0.0

    def __init__(
        self, path: Path, directory: HostDirectory, settings: EmbeddedSettings, *, now_ms: Callable[[], int] = _clock_ms
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._settings = settings
        self._now_ms = now_ms
        self._database = Database(path / "hot.duckdb", settings)
        with self._database.cursor() as cursor:
            self._state = State(names.load(cursor), layout.load(cursor), {})
        self._reader = Reader(self._database, self._state, path, directory, settings)

    def write(self, frames: Sequence[Frame]) -> None:
        """See the seam."""
        with self._state.lock:
            try:
                Write(self._state, self._settings).run(self._database.writer, frames, self._now_ms())
            except duckdb.Error as error:
                raise faults.while_writing(error) from error

    def read(self, query: Query) -> Frame:
        """See the seam."""
        try:
            return self._reader.read(query)
        except duckdb.Error as error:
            raise faults.while_reading(error) from error

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        """See the seam."""
        known = self._state.names.measurements
        found = []
        for name in measurements or sorted(known):
            measurement = known.get(name)
            table = self._state.series.get(measurement.id) if measurement else None
            if measurement and table:
                with self._state.memory:
                    frame = table.latest(measurement, self._state.names.hosts, self._now_ms() - _LATEST_MS)
                found.append(reduce.ordered(frame))
        return [one for one in found if len(one)]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        """See the seam."""
        known = self._state.names.measurements
        chosen = (
            [known[measurement]]
            if measurement in known
            else []
            if measurement
            else [known[one] for one in sorted(known)]
        )
        tags = self._directory.tags()
        hosts = self._state.names.hosts
        keys = []
        for one in chosen:
            series = self._state.series[one.id].known
            mask = hosttags.selected(where, hosts, one.tagsets, series.host, series.inst, tags)
            fields = tuple(sorted(one.fields))
            pairs = sorted(
                (hosts[h], one.tagsets[i]) for h, i in zip(series.host[mask], series.inst[mask], strict=True)
            )
            keys += [SeriesKey(one.name, host, tagset, fields) for host, tagset in pairs]
        return keys

    def hosts(self) -> list[Host]:
        """See the seam."""
        return self._directory.list()

    def health(self) -> Health:
        """See the seam."""
        return Health(True, True, "embedded")

    def close(self) -> None:
        """See the seam."""
        self._database.close()
