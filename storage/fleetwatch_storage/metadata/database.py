"""Opening the metadata database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from fleetwatch_storage.metadata import tables


def open_database(url: str) -> sa.Engine:
    """An engine on `sqlite:///PATH` or `postgresql+psycopg://...`, with the schema in place. Thread-safe; close with `dispose()`."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
    tables.metadata.create_all(engine)
    return engine


def sqlite_url(data_dir: Path) -> str:
    """The metadata database of a data folder."""
    return f"sqlite:///{data_dir / 'metadata.sqlite'}"


def _durable(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DBAPI connection; sqlite3's here
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
