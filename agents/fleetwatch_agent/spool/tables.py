"""Tables of the spool file and how it is opened."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path

from fleetwatch_agent.spool.errors import SpoolNewer, SpoolUnusable, Trouble

VERSION = 1
"""Raised with every change of the tables; a file of a later version is refused."""

_TABLES = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    spool_id TEXT NOT NULL,
    next_seq INTEGER NOT NULL,
    stamps BLOB NOT NULL,          -- stamps.Stamps
    thinned_to INTEGER NOT NULL,   -- batches up to here were thinned already
    lost_points INTEGER NOT NULL   -- of all time
);
CREATE TABLE schemas (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
-- Rows of the batch that is being gathered; they become a row of batches when it is closed.
CREATE TABLE open_rows (
    t_ms INTEGER PRIMARY KEY, schema_id INTEGER NOT NULL, data BLOB NOT NULL, points INTEGER NOT NULL,
    processes BLOB NOT NULL
);
CREATE TABLE batches (
    seq INTEGER PRIMARY KEY, schema_id INTEGER NOT NULL, t0_ms INTEGER NOT NULL, offsets_ms BLOB NOT NULL,
    data BLOB NOT NULL, crc32 INTEGER NOT NULL, points INTEGER NOT NULL, processes BLOB NOT NULL
);
-- Numbers are never used twice here either, so that a confirmation cannot hit a later range.
CREATE TABLE lost (
    id INTEGER PRIMARY KEY AUTOINCREMENT, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
    points INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, data BLOB NOT NULL
);
"""


def connect(path: Path | None) -> sqlite3.Connection:
    """An open spool with its tables; None for one in memory.

    One connection holds the file for itself, which spares the shared-memory file. FULL makes every commit an fsync:
    NORMAL lost committed rows in simulated power cuts. Connections are used by several threads under one lock.

    Raises:
        SpoolNewer: written by a later version.
        SpoolUnusable: the check of the whole file found damage.
        sqlite3.Error: cannot be opened.
    """
    new = path is None or not path.exists()
    db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        if not new:
            _examine(db, path)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 200")
        db.execute("PRAGMA journal_size_limit = 4194304")
        db.execute("PRAGMA cache_size = -512")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            _create(db)
        if path is not None:
            path.chmod(0o600)
    except BaseException:
        db.close()
        raise
    return db


def _examine(db: sqlite3.Connection, path: Path | None) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SpoolNewer(
            f"{path} was written by a newer agent (format {version}, this one knows {VERSION}): "
            "run that version, or move the file away to start a new spool"
        )
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise SpoolUnusable(Trouble.CORRUPT, str(verdict))


def _create(db: sqlite3.Connection) -> None:
    """Tables, state and version in one transaction: a kill leaves all or nothing."""
    db.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} "
        f"INSERT INTO state VALUES (1, '{uuid.uuid4()}', 1, x'', 0, 0); PRAGMA user_version = {VERSION}; COMMIT"
    )
