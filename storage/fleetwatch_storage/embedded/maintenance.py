"""Maintenance: seals what is due, brings small files together, drops what is too old; unhurried, in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from fleetwatch_storage.embedded import compaction, files, retention, sidecar
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.files import Step
from fleetwatch_storage.embedded.hour import ORDER, Change
from fleetwatch_storage.embedded.layout import SealedFile
from fleetwatch_storage.embedded.rows import HOUR_MS
from fleetwatch_storage.embedded.sealing import Sealer
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.sources import parquet
from fleetwatch_storage.embedded.state import State

_log = structlog.get_logger()


class Stopped(Exception):
    """The store is being closed."""


class Maintenance:
    """`run` does everything that is due once; `start` repeats it in a thread. `lock` keeps files as they are."""

    def __init__(
        self,
        database: Database,
        state: State,
        folder: Path,
        settings: EmbeddedSettings,
        now_ms: Callable[[], int],
        step: Step,
    ) -> None:
        self._database = database
        self._state = state
        self._folder = folder
        self._settings = settings
        self._now_ms = now_ms
        self._step = step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="store-maintenance", daemon=True)
        self._sealer = Sealer(database, state, folder, step, self._pause)
        self._named: tuple[int, ...] = ()
        self._opened_ms = now_ms()
        self.lock = threading.RLock()
        self.seal_seconds = 0.0

    def start(self) -> None:
        """Repeats `run` until `stop`, unless the settings say never."""
        if self._settings.store_maintenance_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread at the next piece of work."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _repeat(self) -> None:
        failing = ""
        while not self._stop.wait(self._settings.store_maintenance_s):
            try:
                self.run(self._now_ms())
                failing = ""
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - maintenance goes on trying; what failed has changed nothing
                if str(error) != failing:
                    _log.exception("maintenance_failed")
                failing = str(error)

    def run(self, now_ms: int) -> None:
        """Everything that is due at this time.

        Raises:
            duckdb.Error, OSError, StoreUnavailable: the rest was left for the next time.
        """
        with self.lock:
            self._drop(retention.expired(self._state.layout, self._settings, now_ms))
            self._drop(retention.over_budget(self._state.layout, self._settings.store_budget_bytes, self.hot_bytes()))
            for measurement, hour in self.due(now_ms):
                self._seal(measurement, hour)
            for group in compaction.due(self._state.layout, now_ms, int(self._settings.seal_lateness_s * 1000)):
                self._compact(group)

    def due(self, now_ms: int) -> list[tuple[int, int]]:
        """Measurements and hours with hot tables that closed, and were last written to, long enough ago."""
        late_ms = int(self._settings.seal_lateness_s * 1000)
        touched = self._state.touched_ms
        with self._state.lock:
            return sorted(
                (
                    key
                    for key in self._state.layout.hot
                    if max(key[1] + HOUR_MS, touched.get(key, self._opened_ms)) + late_ms <= now_ms
                ),
                key=lambda key: key[1],
            )

    def used_bytes(self) -> int:
        """What the store takes on disk."""
        return self.hot_bytes() + sum(file.bytes for file in self._state.layout.all_files())

    def hot_bytes(self) -> int:
        """What is not sealed takes on disk."""
        sizes = (self._folder / name for name in ("hot.duckdb", "hot.duckdb.wal"))
        return sum(path.stat().st_size for path in sizes if path.exists())

    def _seal(self, measurement: int, hour_ms: int) -> None:
        if self._stop.is_set():
            return
        began = time.monotonic()
        self._write_names()
        self._sealer.seal(measurement, hour_ms)
        self.seal_seconds = time.monotonic() - began

    def _write_names(self) -> None:
        """The names beside the files, when there are new ones."""
        with self._state.lock:
            names = self._state.names
            counts = (len(names.hosts), *(size for one in names.by_id for size in (len(one.fields), len(one.tagsets))))
            if counts != self._named:
                sidecar.write(self._folder, names)
                self._named = counts

    def _compact(self, group: list[SealedFile]) -> None:
        """Makes one file of several, unless some became part of another meanwhile: then it is the next time's turn."""
        if self._stop.is_set() or not self._state.layout.has(group):
            return
        began, epoch = time.monotonic(), self._state.epoch
        first = group[0]
        place = (first.tier, first.measurement, first.slice)
        times = min(file.start_ms for file in group), max(file.end_ms for file in group)
        statement = f"SELECT * FROM {parquet(self._folder, group, alike=False)} {ORDER}"
        with self._database.cursor() as cursor:
            generation = self._state.next_generation()
            new = files.write(cursor, self._folder, statement, place, times, generation, self._step)
        self._sealer.commit(Change(group, [new]), epoch)
        self._pause(time.monotonic() - began)

    def _drop(self, gone: list[SealedFile]) -> None:
        if gone:
            self._sealer.commit(Change(gone, []), self._state.epoch)

    def _pause(self, worked_s: float) -> None:
        """Rests so long that sealing takes no more than its share of a processor.

        Raises:
            Stopped: the store is being closed; what was begun is begun again after the next start.
        """
        if self._thread.is_alive() and self._stop.wait(worked_s * (1 / self._settings.seal_share - 1)):
            raise Stopped
