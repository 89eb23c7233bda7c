"""The dashboard over a made-up fleet, and a client that asks it without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from fastapi import FastAPI
from fleetwatch_dashboard.app import create_app
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support import fleet
from tests.support.fleet import FakeLive, FleetStore, Made

NOW_MS = 1_795_168_800_000
"""What time it is in tests that need no real one: 2026-11-20T10:00:00Z."""


@dataclass
class Bench:
    """Everything around one app."""

    app: FastAPI
    store: FleetStore
    live: FakeLive
    directory: HostDirectory
    database: sa.Engine
    now_ms: int
    made: Sequence[Made]

    def client(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


@contextmanager
def bench(
    folder: Path,
    made: Sequence[Made] | None = None,
    *,
    now_ms: int = NOW_MS,
    clock: Callable[[], int] | None = None,
    settings: DashboardSettings | None = None,
    live: bool = True,
    incidents: bool = True,
    span_ms: int = fleet.HOUR_MS,
    **options: Any,
) -> Iterator[Bench]:
    """An app over the given hosts (the reference fleet of 21 by default) with the alerts of the reference screens."""
    hosts = fleet.made_hosts(21) if made is None else made
    database = open_database(sqlite_url(folder))
    directory = HostDirectory(database)
    for host in hosts:
        directory.put(fleet.known(host, now_ms))
    directory.flush()
    names = [host.name for host in hosts]
    stored = [*fleet.samples(hosts, now_ms, span_ms), fleet.custom(0, names, now_ms)] if hosts else []
    store, source = FleetStore(stored, directory), FakeLive()
    if incidents and hosts:
        fleet.incidents(database, directory, now_ms)
        fleet.put_rule(database, "HighCPU", "cpu.usage_active", [("warning", ">", 85.0), ("critical", ">", 95.0)])
    app = create_app(
        settings or DashboardSettings(),
        store,
        source if live else None,
        database,
        now_ms=clock or (lambda: now_ms),
        **options,
    )
    try:
        yield Bench(app, store, source, directory, database, now_ms, hosts)
    finally:
        database.dispose()
