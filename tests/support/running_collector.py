"""A collector in this process on a free port, with its store and directory at hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support.list_store import ListStore
from tests.support.stream_client import StreamClient


@dataclass
class Running:
    """A started collector; `client` makes agents of it."""

    collector: Collector
    store: ListStore
    directory: HostDirectory
    clients: list[StreamClient]

    def client(self, agent: str = "agent-1", host: str = "web1", **options: Any) -> StreamClient:
        """An agent that is closed with the collector."""
        client = StreamClient(self.collector.port, agent, host, **options)
        self.clients.append(client)
        return client

    def events(self, host: str = "") -> list[str]:
        """Kinds of recorded events."""
        return [event.kind for event in self.directory.events(host, 0, 2**62)]


@contextlib.asynccontextmanager
async def running(folder: Path, store: ListStore | None = None, **settings: Any) -> AsyncIterator[Running]:
    """A collector with fast flushes; `settings` override its settings."""
    database = open_database(sqlite_url(folder))
    directory = HostDirectory(database)
    chosen: dict[str, Any] = {"grpc": "127.0.0.1:0", "data_dir": folder, "flush_interval": 0.05}
    chosen |= {"directory_interval": 0.2, "retry_max": 0.2} | settings
    kept = store or ListStore()
    part = Running(Collector(CollectorSettings(**chosen), kept, directory), kept, directory, [])
    await part.collector.start()
    try:
        yield part
    finally:
        for client in part.clients:
            await client.close()
        await part.collector.stop(3)
        database.dispose()
