"""A store behind a real collector on a free loopback port, the collector's event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.store import Store


@contextmanager
def served(
    folder: Path, store: Store, hosts: HostDirectory, *, token_file: Path | None = None, port: int = 0
) -> Iterator[Collector]:
    """The running collector; its `port` is where it answers. Commits at once, so that a write takes no second."""
    settings = CollectorSettings(
        grpc=f"127.0.0.1:{port}",
        data_dir=folder,
        flush_interval=0.001,
        import_series_per_minute=100_000,
        token_file=token_file,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="collector", daemon=True)
    thread.start()

    async def start() -> Collector:
        collector = Collector(settings, store, hosts)
        await collector.start()
        return collector

    collector = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield collector
    finally:
        asyncio.run_coroutine_threadsafe(collector.stop(1.0), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
