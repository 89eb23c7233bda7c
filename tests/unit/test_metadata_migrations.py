"""The metadata database: opened through its migrations, never over a newer one, safe for several processes at once."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.metadata import migrate, tables
from fleetwatch_storage.metadata.database import open_database, sqlite_url, transaction


def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    engine = open_database(sqlite_url(tmp_path))

    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), tables.metadata)

    assert difference == []


def test_a_table_left_out_of_the_migrations_would_be_seen(tmp_path: Path) -> None:
    engine = open_database(sqlite_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE receivers"))

    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), tables.metadata)

    assert [kind for kind, *_ in difference] == ["add_table"]


def test_the_head_named_in_the_code_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))

    head = ScriptDirectory.from_config(config).get_current_head()

    assert head == migrate.HEAD


def test_opening_again_keeps_what_is_stored(tmp_path: Path) -> None:
    first = open_database(sqlite_url(tmp_path))
    with first.begin() as connection:
        connection.execute(sa.insert(tables.alert_clock), {"name": "tick", "at_ms": 7})
    first.dispose()

    again = open_database(sqlite_url(tmp_path))

    with again.connect() as connection:
        assert connection.execute(sa.select(tables.alert_clock.c.at_ms)).scalar_one() == 7


def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    engine = open_database(sqlite_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(StoreUnavailable, match=r"written by a newer fleetwatch \(schema 9999") as refused:
        open_database(sqlite_url(tmp_path))

    assert refused.value.reason == "newer"


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").write_bytes(b"not a database" * 100)

    with pytest.raises(StoreUnavailable, match="damaged") as refused:
        open_database(sqlite_url(tmp_path))

    assert refused.value.reason == "corrupt"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_database(sqlite_url(tmp_path / "missing"))


def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        engines = list(pool.map(lambda _: open_database(sqlite_url(tmp_path)), range(6)))

    with engines[0].connect() as connection:
        assert migrate.revision(connection) == migrate.HEAD


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = migrate._upgrade

    def failing(connection: sa.Connection) -> None:
        real(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "_upgrade", failing)
    with pytest.raises(RuntimeError):
        open_database(sqlite_url(tmp_path))
    monkeypatch.setattr(migrate, "_upgrade", real)

    engine = open_database(sqlite_url(tmp_path))

    assert "hosts" in sa.inspect(engine).get_table_names()


def _count_up(engine: sa.Engine, times: int) -> None:
    clock = tables.alert_clock
    for _ in range(times):
        with transaction(engine) as connection:
            value = connection.execute(sa.select(clock.c.at_ms)).scalar_one()
            connection.execute(sa.update(clock).values(at_ms=value + 1))


def _with_counter(tmp_path: Path) -> sa.Engine:
    engine = open_database(sqlite_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.alert_clock), {"name": "tick", "at_ms": 0})
    return engine


def test_transactions_that_read_and_write_do_not_lose_each_others_changes(tmp_path: Path) -> None:
    engine = _with_counter(tmp_path)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _count_up(engine, 50), range(4)))

    with engine.connect() as connection:
        assert connection.execute(sa.select(tables.alert_clock.c.at_ms)).scalar_one() == 200


def test_without_the_write_lock_from_the_start_such_a_transaction_fails(tmp_path: Path) -> None:
    engine = _with_counter(tmp_path)

    with engine.begin() as reader:
        reader.execute(sa.select(tables.alert_clock.c.at_ms)).scalar_one()
        _count_up(engine, 1)
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            reader.execute(sa.update(tables.alert_clock).values(at_ms=5))
