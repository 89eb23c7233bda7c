"""The embedded store: the seam, put together from writing, reading and maintenance."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from fleetwatch_storage import hosttags
from fleetwatch_storage.embedded import faults, layout, names
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.files import Step
from fleetwatch_storage.embedded.maintenance import Maintenance
from fleetwatch_storage.embedded.names import Measurement
from fleetwatch_storage.embedded.reading import Reader
from fleetwatch_storage.embedded.recovery import Recovery, free_bytes
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.embedded.writing import Write
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.hosttags import HostTags
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.store import Health, SeriesKey

_LATEST_MS = 3_600_000


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _no_step(_name: str) -> None:
    return


class EmbeddedStore:
    """A store in one folder of this machine; one process at a time.

    `step` is told each point in sealing at which a crash is interesting, for tests that crash there.

    Raises:
        StoreUnavailable: the folder cannot be used; the reason is "locked", "newer", "corrupt", "full" or "down".
    """

    commit_lag_s = 0.0

    def __init__(
        self,
        path: Path,
        directory: HostDirectory,
        settings: EmbeddedSettings,
        *,
        now_ms: Callable[[], int] = _clock_ms,
        step: Step = _no_step,
    ) -> None:
        _make_folder(path)
        self.path = path
        self.settings = settings
        self.state = State(names.Names(), layout.Layout(), {})
        self._directory = directory
        self._now_ms = now_ms
        self.database = Database(path / "hot.duckdb", settings)
        self._recovery = Recovery(self.database, self.state, path, settings, now_ms)
        try:
            self._recovery.load()
        except BaseException:
            self.database.close()
            raise
        self._reader = Reader(self.database, self.state, path, directory, settings)
        self.maintenance = Maintenance(self.database, self.state, path, settings, now_ms, step)
        self.maintenance.start()

    def write(self, frames: Sequence[Frame]) -> None:
        """See the seam."""
        with self.state.lock:
            self._recovery.before_writing()
            try:
                Write(self.state, self.settings).run(self.database.writer, frames, self._now_ms())
            except duckdb.Error as error:
                self._recovery.after(error)
                raise faults.while_writing(error) from error

    def read(self, query: Query) -> Frame:
        """See the seam."""
        self._recovery.before_reading()
        try:
            return self._reader.read(query)
        except duckdb.Error as error:
            if not faults.is_fatal(error):
                raise faults.while_reading(error) from error
            self._recovery.after(error)
        try:
            return self._reader.read(query)
        except duckdb.Error as error:
            raise faults.while_reading(error) from error

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        """See the seam."""
        chosen = self._measurements(measurements)
        found = [self._latest(one) for one in chosen]
        return [frame for frame in found if len(frame)]

    def _latest(self, measurement: Measurement) -> Frame:
        state = self.state
        with state.memory:
            table, oldest_ms = state.series[measurement.id], self._now_ms() - _LATEST_MS
            return table.latest(measurement, state.names.ranking, oldest_ms)

    def _measurements(self, wanted: Sequence[str]) -> list[Measurement]:
        """The measurements of these names that have series, all when none is named."""
        known = self.state.names.measurements
        chosen = [known[name] for name in wanted or sorted(known) if name in known]
        return [one for one in chosen if one.id in self.state.series]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        """See the seam."""
        tags = self._directory.tags() if where else {}
        return [
            key
            for one in self._measurements([measurement] if measurement else [])
            for key in self._keys(one, where, tags)
        ]

    def _keys(self, measurement: Measurement, where: Sequence[Matcher], tags: HostTags) -> list[SeriesKey]:
        known, hosts, tagsets = self.state.series[measurement.id].known, self.state.names.hosts, measurement.tagsets
        mask = hosttags.selected(where, hosts, tagsets, known.host, known.inst, tags)
        fields = tuple(sorted(measurement.fields))
        pairs = zip(known.host[mask].tolist(), known.inst[mask].tolist(), strict=True)
        return [SeriesKey(measurement.name, *key, fields) for key in sorted((hosts[h], tagsets[i]) for h, i in pairs)]

    def hosts(self) -> list[Host]:
        """See the seam."""
        return self._directory.list()

    def health(self) -> Health:
        """See the seam."""
        return self._recovery.health()

    def vitals(self) -> dict[str, float]:
        """The fields of `fleetwatch_store` in the catalogue."""
        return {
            "points": float(self.state.points),
            "bytes": float(self.maintenance.used_bytes()),
            "hot_bytes": float(self.maintenance.hot_bytes()),
            "series": float(sum(len(table.known) for table in self.state.series.values())),
            "writable": float(self.health().writable),
            "seal_seconds": self.maintenance.seal_seconds,
            "disk_free": float(free_bytes(self.path)),
        }

    def close(self) -> None:
        """See the seam."""
        self.maintenance.stop()
        self.database.close()


def _make_folder(path: Path) -> None:
    """The folder, there and writable.

    Raises:
        StoreUnavailable: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return
    except OSError as error:
        reason = "full" if error.errno == errno.ENOSPC else "down"
        raise StoreUnavailable(
            f"{path}: the store's folder cannot be written to: {error.strerror}; give it to the user that "
            f"fleetwatch runs as, or name another with data_dir",
            reason=reason,
        ) from error
