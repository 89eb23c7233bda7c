"""Sealing: a closed hour's hot tables become sorted Parquet and roll-ups, and then go, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fleetwatch_storage.embedded import files, layout
from fleetwatch_storage.embedded.database import Database
from fleetwatch_storage.embedded.files import Step
from fleetwatch_storage.embedded.hour import Change, Hour
from fleetwatch_storage.embedded.layout import HotTable, Layout
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.embedded.writing import roll_back
from fleetwatch_storage.errors import StoreUnavailable


class Sealer:
    """Changes where rows are, never what they are. One thread at a time; `pause` is called between pieces of work."""

    def __init__(
        self, database: Database, state: State, folder: Path, step: Step, pause: Callable[[float], None]
    ) -> None:
        self._database = database
        self._state = state
        self._folder = folder
        self._step = step
        self._pause = pause

    def seal(self, measurement: int, hour_ms: int) -> None:
        """Seals what an hour's hot tables hold now; rows that come meanwhile go to a new table.

        Raises:
            duckdb.Error, OSError, StoreUnavailable: nothing has changed.
        """
        epoch = self._state.epoch
        tables = self._freeze(measurement, hour_ms)
        try:
            if tables:
                self.commit(self._sealed(measurement, tables), epoch)
        finally:
            with self._state.lock:
                self._state.frozen.difference_update(table.name for table in tables)

    def _sealed(self, measurement: int, tables: tuple[HotTable, ...]) -> Change:
        """Writes the files of an hour; those of a failed attempt are removed."""
        change = Change([], [], tables)
        owner = self._state.names.by_id[measurement]
        try:
            with self._database.cursor() as cursor:
                hour = Hour(
                    cursor, self._folder, self._view(tables), owner, tables, self._state.next_generation, self._step
                )
                for part in hour.slices():
                    began = time.monotonic()
                    hour.seal(part, change)
                    self._pause(time.monotonic() - began)
        except BaseException:
            files.remove(self._folder / file.path for file in change.new)
            raise
        return change

    def _freeze(self, measurement: int, hour_ms: int) -> tuple[HotTable, ...]:
        with self._state.lock:
            tables = self._state.layout.hot.get((measurement, hour_ms), ())
            self._state.frozen.update(table.name for table in tables)
        self._step("frozen")
        return tables

    def _view(self, tables: tuple[HotTable, ...]) -> Layout:
        """The layout with exactly these tables for their hour."""
        now = self._state.layout
        key = (tables[0].measurement, tables[0].hour_ms)
        return replace(now, hot={**now.hot, key: tables})

    def commit(self, change: Change, epoch: int) -> None:
        """Makes the change: from here on readers see the new files. Removes the old ones after.

        When this fails nobody knows which files count: they all stay until the store is opened again and looks.
        `epoch` is the state's when the change was begun.

        Raises:
            StoreUnavailable: the store was opened again since; nothing has changed.
            duckdb.Error: as above.
        """
        self._step("before commit")
        state = self._state
        with state.lock:
            if state.epoch != epoch:
                raise StoreUnavailable("the store was opened again meanwhile", reason="busy")
            connection = self._database.writer
            connection.execute("BEGIN")
            try:
                layout.record(connection, change.gone, change.new)
                for table in change.tables:
                    connection.execute(f"DROP TABLE {table.name}")
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise
            state.layout = state.layout.without_tables(change.tables).with_files(change.gone, change.new)
        self._step("committed")
        files.remove(self._folder / file.path for file in change.gone)
        self._step("removed")
