"""Bad days: a full disk, a database that must be opened again. Writes are refused, reads go on, it heals by itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import structlog

from fleetwatch_storage.embedded import adopt, faults, layout, names, remember
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.store import Health

_RETRY_S = 1.0
_NO_CHECKPOINT = 1 << 50
"""Write-ahead log at which to checkpoint while the disk is full: never, as a failed checkpoint closes the database."""

_log = structlog.get_logger()


class Recovery:
    """Knows whether the store can be used, and opens the database again after a fatal error."""

    def __init__(
        self, database: Database, state: State, folder: Path, settings: EmbeddedSettings, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._state = state
        self._folder = folder
        self._settings = settings
        self._now_ms = now_ms
        self._no_checkpoints = False
        self._full = False
        self._tried_s = 0.0
        self._broken = ""

    def load(self) -> None:
        """Takes names, layout and last rows from the database and the folder into memory.

        Raises:
            StoreUnavailable: they cannot be read.
        """
        try:
            with self._database.cursor() as cursor:
                known = adopt.names(cursor, self._folder, names.load(cursor))
                found = adopt.files_of(cursor, self._folder, layout.load(cursor), len(known.by_id))
                series = remember.series(cursor, self._folder, known, found, self._now_ms())
        except duckdb.Error as error:
            raise faults.while_opening(error, self._folder / "hot.duckdb") from error
        state = self._state
        state.names, state.layout, state.series = known, found, series
        state.generation = max((file.generation for file in found.all_files()), default=0)
        state.frozen.clear()
        state.epoch += 1

    def before_writing(self) -> None:
        """The caller holds the write lock.

        Raises:
            StoreUnavailable: the store cannot take rows now.
        """
        self.before_reading()
        self._note_room(free_bytes(self._folder))
        if self._full:
            raise StoreUnavailable(self._full_text(), reason="full")
        if self._no_checkpoints:
            self._database.checkpoint_at(self._settings.store_checkpoint_bytes)
            self._no_checkpoints = False

    def before_reading(self) -> None:
        """Opens the database if it is not, now and then.

        Raises:
            StoreUnavailable: it cannot be opened now.
        """
        if not self._broken:
            return
        with self._state.lock:
            if self._broken and time.monotonic() - self._tried_s >= _RETRY_S:
                self._open_again()
            if self._broken:
                raise StoreUnavailable(self._broken)

    def after(self, error: duckdb.Error) -> None:
        """Opens the database again when this error closed it and nobody has yet."""
        if not faults.is_fatal(error):
            return
        with self._state.lock:
            if not self._database.answers():
                _log.error("store_failed", error=str(error))
                self._open_again()

    def _open_again(self) -> None:
        self._tried_s = time.monotonic()
        self._note_room(free_bytes(self._folder))
        self._no_checkpoints = self._full
        try:
            self._database.reopen(_NO_CHECKPOINT if self._full else self._settings.store_checkpoint_bytes)
            self.load()
            self._broken = ""
            _log.info("store_opened_again", full=self._full)
        except StoreUnavailable as error:
            self._broken = str(error)

    def _note_room(self, free: int) -> None:
        full = free < self._settings.store_min_free_bytes
        if full != self._full:
            _log.warning("disk_full", free_bytes=free) if full else _log.info("disk_has_room", free_bytes=free)
        self._full = full

    def _full_text(self) -> str:
        free, wanted = free_bytes(self._folder) >> 20, self._settings.store_min_free_bytes >> 20
        return (
            f"{self._folder}: the disk is full: {free} MiB free, writes go on from {wanted} MiB "
            f"(store_min_free_bytes); free some space, or lower store_budget_bytes or what is kept"
        )

    def health(self) -> Health:
        """Whether rows can be read and written now."""
        if self._broken or not self._database.answers():
            return Health(False, False, "embedded", self._broken or "the database has failed and is being opened again")
        if free_bytes(self._folder) < self._settings.store_min_free_bytes:
            return Health(True, False, "embedded", self._full_text())
        return Health(True, True, "embedded")


def free_bytes(folder: Path) -> int:
    """Free on the disk of a folder."""
    return shutil.disk_usage(folder).free
