"""Writing: frames become rows with ids, rows become one transaction, and memory follows once it is durable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import hot, window
from fleetwatch_storage.embedded import rows as row_blocks
from fleetwatch_storage.embedded.checks import Refused, acceptable, is_plain
from fleetwatch_storage.embedded.database import insert
from fleetwatch_storage.embedded.names import Measurement
from fleetwatch_storage.embedded.rows import Places, Rows
from fleetwatch_storage.embedded.series import SeriesTable
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.state import State
from fleetwatch_storage.errors import WriteRejected
from fleetwatch_storage.frames import Codes, Frame


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of one measurement in a write, each series and time once, and the number of each row's series."""

    measurement: Measurement
    rows: Rows
    series: Places


class Write:
    """One write: everything between taking frames and their being durable. The caller holds the state's lock."""

    def __init__(self, state: State, settings: EmbeddedSettings) -> None:
        self._state = state
        self._settings = settings
        self._refused = Refused()
        self._new_series: list[tuple[Measurement, Codes, Codes]] = []
        self._layout = state.layout
        self._points = 0

    def run(self, connection: DuckDBPyConnection, frames: Sequence[Frame], now_ms: int) -> None:
        """Stores all rows in one transaction.

        Raises:
            WriteRejected: some rows were refused, all others are durable.
            duckdb.Error: nothing was stored.
        """
        try:
            blocks = self._blocks(frames)
            if blocks:
                self._commit(connection, blocks)
        except BaseException:
            self._take_back()
            raise
        self._publish(blocks, now_ms)
        if self._refused.count:
            raise WriteRejected(self._refused.rows, count=self._refused.count)

    def _blocks(self, frames: Sequence[Frame]) -> list[_Block]:
        parts: dict[str, list[tuple[Rows, Places]]] = {}
        for frame in frames:
            if len(frame) and (measurement := self._measurement(frame)):
                rows, series = self._rows(frame, measurement)
                if len(rows):
                    parts.setdefault(measurement.name, []).append((rows, series))
        return [self._block(name, several) for name, several in parts.items()]

    def _block(self, name: str, parts: list[tuple[Rows, Places]]) -> _Block:
        series = parts[0][1] if len(parts) == 1 else np.concatenate([numbers for _, numbers in parts])
        rows, series = row_blocks.merged(row_blocks.joined([rows for rows, _ in parts]), series)
        return _Block(self._state.names.measurements[name], rows, series)

    def _measurement(self, frame: Frame) -> Measurement | None:
        names, most = self._state.names, self._settings.store_max_measurements
        if frame.measurement in names.measurements or len(names.by_id) < most:
            return names.measurement(frame.measurement)
        self._refused.add(frame, np.ones(len(frame), np.bool_), f"this measurement is one more than the {most} allowed")
        return None

    def _rows(self, frame: Frame, measurement: Measurement) -> tuple[Rows, Places]:
        names = self._state.names
        plain = is_plain(frame, measurement.fields)
        frame = (
            frame if plain else acceptable(frame, measurement.fields, self._settings.store_max_fields, self._refused)
        )
        self._points += _points(frame, plain=plain)
        rows = Rows(
            frame.time,
            names.host_codes(frame.hosts)[frame.host],
            names.tagset_codes(measurement, frame.tagsets)[frame.tagset],
            {
                names.field(measurement, name, text=column.dtype == object): column
                for name, column in frame.fields.items()
            },
        )
        series = self._numbered(rows, measurement)
        if len(series) and series.min() < 0:
            self._refused.add(
                frame, series < 0, f"this series is one more than the {self._settings.store_max_series} allowed"
            )
            return rows.take(series >= 0), series[series >= 0]
        return rows, series

    def _numbered(self, rows: Rows, measurement: Measurement) -> Places:
        """The number of each row's series; -1 for new ones beyond the limit."""
        table = self._state.series.setdefault(measurement.id, SeriesTable())
        series = table.find(rows.keys)
        if len(series) and series.min() < 0:
            room = max(0, self._settings.store_max_series - len(table.known))
            host, inst = table.unknown(rows)
            with self._state.memory:
                table.add(host[:room], inst[:room])
            self._new_series.append((measurement, host[:room], inst[:room]))
            series = table.find(rows.keys)
        return series

    def _commit(self, connection: DuckDBPyConnection, blocks: list[_Block]) -> None:
        connection.execute("BEGIN")
        try:
            self._state.names.save(connection)
            for measurement, host, inst in self._new_series:
                owner = np.full(len(host), measurement.id, np.int32)
                insert(connection, "series", {"measurement_id": owner, "host_id": host, "inst_id": inst})
            for block in blocks:
                self._store(connection, block)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    def _store(self, connection: DuckDBPyConnection, block: _Block) -> None:
        """Rows newer than the last of their series are appended, others merged with what is there."""
        late = block.rows.ts <= self._state.series[block.measurement.id].last[block.series]
        some_late = bool(late.any())
        fresh = block.rows.take(~late) if some_late else block.rows
        for hour_ms, part in row_blocks.by_hour(fresh):
            insert(connection, self._table(connection, block, hour_ms, part), part.columns())
        for hour_ms, part in row_blocks.by_hour(block.rows.take(late)) if some_late else ():
            hot.merge(connection, self._table(connection, block, hour_ms, part), part)

    def _table(self, connection: DuckDBPyConnection, block: _Block, hour_ms: int, rows: Rows) -> str:
        """The name of the table that takes rows of that hour, made or widened where needed."""
        key = (block.measurement.id, hour_ms)
        table = hot.table_for(connection, key, rows.fields, self._layout.hot.get(key, ()), self._state.frozen)
        if table not in self._layout.hot.get(key, ()):
            self._layout = self._layout.with_table(table)
        return table.name

    def _take_back(self) -> None:
        with self._state.memory:
            for measurement, host, _ in reversed(self._new_series):
                self._state.series[measurement.id].remove_last(len(host))
        self._state.names.discard()

    def _publish(self, blocks: list[_Block], now_ms: int) -> None:
        state = self._state
        state.names.keep()
        state.points += self._points
        before, state.layout = state.layout, self._layout
        with state.memory:
            for block in blocks:
                state.series[block.measurement.id].note(block.rows, block.series)
            if self._new_series or self._layout is not before:
                window.fit(state.series.values(), self._settings.store_window_bytes)
        for block in blocks:
            for hour_ms in row_blocks.hours(block.rows.ts):
                state.touched_ms[block.measurement.id, hour_ms] = now_ms


def _points(frame: Frame, *, plain: bool) -> int:
    return len(frame) * len(frame.fields) if plain else frame.points


def roll_back(connection: DuckDBPyConnection) -> None:
    """Ends a failed transaction; DuckDB ends it itself when the commit failed."""
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        return
