"""Bringing the metadata schema up to date with Alembic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa

from fleetwatch_storage.errors import StoreUnavailable

HEAD = "0001"
"""The newest revision; a database at it is opened without loading Alembic."""

SCRIPTS = Path(__file__).parent / "migrations"


def bring_up_to_date(
    engine: sa.Engine, transaction: Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
) -> None:
    """Runs the migrations that are missing, all in one transaction; processes that open at once wait for each other.

    Raises:
        StoreUnavailable: the database has a revision that this version does not know.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return
    with transaction(engine) as connection:
        found = revision(connection)
        if found != HEAD:
            _refuse_unknown(engine, found)
            _upgrade(connection)


def revision(connection: sa.Connection) -> str:
    """The revision of a database; empty when it has no schema yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or "")


def _refuse_unknown(engine: sa.Engine, found: str) -> None:
    known = {path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py")}
    if found and found not in known:
        raise StoreUnavailable(
            f"the metadata database {engine.url} was written by a newer fleetwatch (schema {found}, this one knows "
            f"up to {HEAD}): run that version, or restore the backup made before the upgrade",
            reason="newer",
        )


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
