"""What every server part stands on: metadata database, host directory, store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleetwatch_proto.settings import ConfigError
from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.opening import open_store
from fleetwatch_storage.settings import StoreSettings

from fleetwatch.settings import ProcessSettings, Source

if TYPE_CHECKING:
    from fleetwatch_storage.store import Store


@dataclass(frozen=True, slots=True)
class Foundation:
    """Opened, in use, closed by whoever opened it."""

    settings: StoreSettings
    database: Any  # what open_database returns: an engine of SQLAlchemy, which only storage knows
    directory: HostDirectory
    store: Store


@contextlib.asynccontextmanager
async def opened(source: Source, *, beside_collector: bool = False) -> AsyncIterator[Foundation]:
    """`foundation` for an event loop: a store that takes long to open or close does not keep signals out.

    Raises:
        ConfigError: as `foundation`.
    """
    base = foundation(source, beside_collector=beside_collector)
    found = await asyncio.to_thread(base.__enter__)
    try:
        yield found
    finally:
        await asyncio.to_thread(base.__exit__, None, None, None)


@contextlib.contextmanager
def foundation(source: Source, *, beside_collector: bool = False) -> Iterator[Foundation]:
    """Opens database, directory and store; closes them in reverse.

    `beside_collector`: the embedded store belongs to the collector's process, so another one reads through it.

    Raises:
        ConfigError: the database or the store cannot be used as they are; in words.
    """
    settings = source.read(StoreSettings)
    if beside_collector and settings.store == "embedded":
        settings = replace(settings, store="remote")
    with contextlib.ExitStack() as stack:
        try:
            database = open_database(source.read(ProcessSettings).database_url or sqlite_url(settings.data_dir))
            stack.callback(database.dispose)
            directory = HostDirectory(database)
            store = open_store(settings, directory)
        except StoreUnavailable as error:
            raise ConfigError(str(error)) from error
        stack.callback(store.close)
        yield Foundation(settings, database, directory, store)
