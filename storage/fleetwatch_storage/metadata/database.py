"""Opening the metadata database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.metadata import migrate


def open_database(url: str) -> sa.Engine:
    """An engine on `sqlite:///PATH` or `postgresql+psycopg://...`, its schema brought up to date by the migrations.

    Thread-safe; close with `dispose()`.

    Raises:
        StoreUnavailable: the database cannot be opened, or a newer fleetwatch has written it.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
        sa.event.listen(engine, "begin", _begin)
    try:
        migrate.bring_up_to_date(engine, transaction)
    except sa.exc.OperationalError as error:
        engine.dispose()
        raise StoreUnavailable(f"the metadata database {engine.url} cannot be opened: {error.orig}") from error
    except sa.exc.DatabaseError as error:
        engine.dispose()
        raise StoreUnavailable(
            f"the metadata database {engine.url} is damaged: {error.orig}; restore it from a backup", reason="corrupt"
        ) from error
    except StoreUnavailable:
        engine.dispose()
        raise
    return engine


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that reads and then writes what follows from it: no other writer comes between.

    `engine.begin()` on SQLite takes the write lock with its first write; what it read before may be old by then.
    """
    with engine.execution_options(fleetwatch_writes=True).begin() as connection:
        yield connection


def sqlite_url(data_dir: Path) -> str:
    """The metadata database of a data folder."""
    return f"sqlite:///{data_dir / 'metadata.sqlite'}"


def _durable(connection: object, _record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3's; _begin opens the transactions
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("fleetwatch_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
