"""The DuckDB file: opening it, cursors for readers, opening it again after a fatal error."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from duckdb import DuckDBPyConnection

from fleetwatch_storage.embedded import faults
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.errors import StoreUnavailable

FORMAT = 1
"""Version of tables and files; a store with a higher one is refused."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key VARCHAR PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS hosts (id INTEGER NOT NULL, name VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS measurements (id INTEGER NOT NULL, name VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS fields (
    id INTEGER NOT NULL, measurement_id INTEGER NOT NULL, name VARCHAR NOT NULL, is_text BOOLEAN NOT NULL
);
CREATE TABLE IF NOT EXISTS tagsets (id INTEGER NOT NULL, measurement_id INTEGER NOT NULL, tags VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS series (measurement_id INTEGER NOT NULL, host_id INTEGER NOT NULL, inst_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path VARCHAR NOT NULL, tier VARCHAR NOT NULL, measurement_id INTEGER NOT NULL, start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL, slice INTEGER NOT NULL, generation BIGINT NOT NULL, row_count BIGINT NOT NULL,
    bytes BIGINT NOT NULL, columns VARCHAR NOT NULL
);
"""

Columns = Mapping[str, npt.NDArray[np.generic]]


class Database:
    """One open DuckDB file. `writer` belongs to whoever holds the store's write lock; readers take `cursor()`."""

    def __init__(self, file: Path, settings: EmbeddedSettings) -> None:
        self._file = file
        self._settings = settings
        self._idle = threading.Condition()
        self._readers: list[DuckDBPyConnection] = []
        self._opening = False
        self._root, self.writer = self._open(settings.store_checkpoint_bytes)

    def _open(self, checkpoint_bytes: int) -> tuple[DuckDBPyConnection, DuckDBPyConnection]:
        try:
            connection = duckdb.connect(str(self._file), config=_config(self._file, self._settings, checkpoint_bytes))
        except duckdb.Error as error:
            raise faults.while_opening(error, self._file) from error
        try:
            _check_format(connection, self._file)
            writer = connection.cursor()
            writer.execute("PRAGMA disable_optimizer")  # plain inserts need none: saves a quarter of a commit
        except duckdb.Error as error:
            connection.close()
            raise faults.while_opening(error, self._file) from error
        except StoreUnavailable:
            connection.close()
            raise
        return connection, writer

    @contextmanager
    def cursor(self) -> Iterator[DuckDBPyConnection]:
        """A connection of its own for one read or one piece of background work."""
        with self._idle:
            self._idle.wait_for(lambda: not self._opening)
            cursor = self._root.cursor()
            self._readers.append(cursor)
        try:
            yield cursor
        finally:
            with self._idle:
                self._readers.remove(cursor)
                self._idle.notify_all()
            cursor.close()

    def answers(self) -> bool:
        """Whether the database is open and has not failed."""
        try:
            with self.cursor() as cursor:
                return cursor.execute("SELECT 1").fetchone() is not None
        except duckdb.Error:
            return False

    def checkpoint_at(self, wal_bytes: int) -> None:
        """Changes at which size the write-ahead log is worked into the file."""
        self.writer.execute(f"SET GLOBAL checkpoint_threshold = '{wal_bytes}B'")

    def reopen(self, checkpoint_bytes: int) -> None:
        """Opens the file again after a fatal error, once all readers are done.

        Raises:
            StoreUnavailable: it cannot be opened now; it is closed then.
        """
        with self._alone():
            self._close()
            self._root, self.writer = self._open(checkpoint_bytes)

    def close(self) -> None:
        """Ends what readers are doing and closes the file; idempotent."""
        with self._idle:
            for reader in self._readers:
                reader.interrupt()
        with self._alone():
            self._close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Without readers."""
        with self._idle:
            self._opening = True
            self._idle.wait_for(lambda: not self._readers)
        try:
            yield
        finally:
            with self._idle:
                self._opening = False
                self._idle.notify_all()

    def _close(self) -> None:
        self.writer.close()
        self._root.close()


def insert(connection: DuckDBPyConnection, table: str, columns: Columns) -> None:
    """Appends equally long columns to a table whose name and column names are this package's own."""
    batch = dict(columns)  # noqa: F841 - DuckDB finds it by its name
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM batch")


def literal(text: str) -> str:
    """A text as SQL, for places that take no parameter."""
    return "'" + text.replace("'", "''") + "'"


def _config(
    file: Path, settings: EmbeddedSettings, checkpoint_bytes: int
) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": settings.store_threads,
        "memory_limit": f"{settings.store_memory_bytes}B",
        "checkpoint_threshold": f"{checkpoint_bytes}B",
        "temp_directory": str(file.parent / "temporary"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "allow_community_extensions": False,
        "pandas_analyze_sample": 0,  # text columns are text, whatever their first rows hold
    }


def _check_format(connection: DuckDBPyConnection, file: Path) -> None:
    connection.execute(_SCHEMA)
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if found is None:
        connection.execute("INSERT INTO meta VALUES ('format', ?)", [FORMAT])
    elif found[0] > FORMAT:
        raise StoreUnavailable(
            f"{file}: has format {found[0]}, this version reads up to {FORMAT}; install the fleetwatch that wrote it",
            reason="newer",
        )
