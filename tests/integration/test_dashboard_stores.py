"""The dashboard over the embedded store: what was written is what the pages and the API show, hot and sealed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fleetwatch_dashboard.app import create_app
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.embedded.settings import EmbeddedSettings
from fleetwatch_storage.embedded.store import EmbeddedStore
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support import fleet
from tests.support.fleet import FleetStore

HOUR_MS = 3_600_000


@dataclass
class Both:
    """The same samples in the embedded store and in memory, each behind an app of its own."""

    embedded: FastAPI
    memory: FastAPI
    store: EmbeddedStore
    now_ms: int


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    made, now_ms = fleet.made_hosts(6), fleet.now_ms() // 60_000 * 60_000
    database = open_database(sqlite_url(folder))
    directory = HostDirectory(database)
    for host in made:
        directory.put(fleet.known(host, now_ms))
    directory.flush()
    stored = [*fleet.samples(made, now_ms), fleet.custom(0, [host.name for host in made], now_ms)]
    settings = EmbeddedSettings(store_maintenance_s=0)
    with closing(EmbeddedStore(folder / "data", directory, settings)) as store:
        store.write(stored)
        apps = [
            create_app(DashboardSettings(), one, None, database, now_ms=lambda: now_ms)
            for one in (store, FleetStore(stored, directory))
        ]
        yield Both(apps[0], apps[1], store, now_ms)
    database.dispose()


async def get(app: FastAPI, address: str, accept: str = "*/*") -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get(address, headers={"accept": accept})


SERIES = (
    "metric=cpu.usage_active&metric=cpu.usage_user&tag.cpu=cpu-total",
    "metric=mem.used&points=60",
    "metric=net.bytes_recv&metric=net.bytes_sent&tag.interface=eth0",
    "metric=diskio.read_bytes&metric=diskio.io_util&points=100",
    "metric=pressure.avg10&tag.type=some",
    "metric=shop_queue.depth",
)


def near(one: Any, other: Any) -> bool:
    """Whether two columns hold the same within rounding."""
    return len(one) == len(other) and all(
        (a is None) == (b is None) and (a is None or a == pytest.approx(b, rel=1e-4, abs=1e-6))
        for a, b in zip(one, other, strict=True)
    )


async def same_series(both: Both) -> None:
    for query in SERIES:
        found, wanted = [
            (await get(app, f"/api/v1/series?host=web-3&{query}")).json() for app in (both.embedded, both.memory)
        ]
        assert found["t"] == wanted["t"], query
        for one, other in zip(found["series"], wanted["series"], strict=True):
            assert (one["metric"], one["tags"], one["unit"]) == (other["metric"], other["tags"], other["unit"])
            assert near(one["avg"], other["avg"]), query
            assert near(one["max"], other["max"]), query


async def test_series_from_the_embedded_store_are_those_that_were_written(both: Both) -> None:
    await same_series(both)


async def test_hosts_from_the_embedded_store_are_those_that_were_written(both: Both) -> None:
    found, wanted = [(await get(app, "/api/v1/hosts")).json()["hosts"] for app in (both.embedded, both.memory)]

    assert [one["latest"] for one in found] == [pytest.approx(one["latest"]) for one in wanted]


@pytest.mark.parametrize(
    "address", ["/", "/?sort=cpu", "/hosts/web-3", "/hosts/db-1?range=24h", "/alerts", "/api/docs"]
)
async def test_pages_over_the_embedded_store(both: Both, address: str) -> None:
    answer = await get(both.embedded, address, "text/html")

    assert answer.status_code == 200, answer.text[:500]


async def test_processes_of_a_past_moment_come_from_the_embedded_store(both: Both) -> None:
    at = (both.now_ms - HOUR_MS // 2) / 1000

    found, wanted = [
        (await get(app, f"/api/v1/processes?host=web-3&at={at}")).json() for app in (both.embedded, both.memory)
    ]

    assert found["t"] == wanted["t"]
    assert [(one["pid"], one["name"], one["user"]) for one in found["processes"]] == [
        (one["pid"], one["name"], one["user"]) for one in wanted["processes"]
    ]


async def test_sealing_changes_nothing_on_the_pages(both: Both) -> None:
    both.store.maintenance.run(both.now_ms + 3 * HOUR_MS)

    await same_series(both)
    assert (await get(both.embedded, "/hosts/web-3", "text/html")).status_code == 200
