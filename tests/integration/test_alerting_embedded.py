"""Alerting on the real embedded store: what a rule sees is what was written, also from sealed files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from fleetwatch_alerting import fleet, observe, pack
from fleetwatch_alerting.desk import Desk
from fleetwatch_alerting.outbox import Outbox
from fleetwatch_alerting.rules.loader import loads
from fleetwatch_storage.embedded import EmbeddedSettings, EmbeddedStore
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.metadata.alerts import list_alerts
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support import store_rows
from tests.support.store_rows import Row

NOW = int(time.time() * 1000) // 60_000 * 60_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = open_database(sqlite_url(tmp_path))
    yield opened
    opened.dispose()


@pytest.fixture
def directory(engine: sa.Engine) -> HostDirectory:
    known = HostDirectory(engine)
    for name, rack in (("a", "r1"), ("b", "r1"), ("c", "r2")):
        known.put(Host(name, tags={"rack": rack}, first_seen_ms=NOW - 10**7, last_seen_ms=NOW, connected=True))
    return known


@pytest.fixture
def store(tmp_path: Path, directory: HostDirectory) -> Iterator[EmbeddedStore]:
    with closing(EmbeddedStore(tmp_path / "data", directory, EmbeddedSettings(store_maintenance_s=0))) as opened:
        yield opened


def rows(measurement: str, field: str, tags: dict[str, str], values: dict[str, list[float]]) -> Frame:
    """Samples every ten seconds, the last of each host at NOW."""
    return store_rows.frame(
        measurement,
        [
            Row(host, NOW - 10_000 * (len(some) - 1 - index), {field: value}, tags)
            for host, some in values.items()
            for index, value in enumerate(some)
        ],
    )


def seen(store: EmbeddedStore, rule: str) -> dict[str, float]:
    """What a rule sees at NOW, by host or rack."""
    (made,) = loads(f"version: 1\nrules:\n  - {{name: R, {rule}}}\n", "r").rules
    sight = observe.look(made, store.read, NOW, 10_000)
    return {
        dict(sight.labels(row)).get("host") or dict(sight.labels(row)).get("rack", ""): float(value)
        for row, value in enumerate(sight.values)
        if not np.isnan(value)
    }


@pytest.mark.parametrize("sealed", [False, True])
def test_windows_are_exact_whatever_the_samples_are_kept_in(store: EmbeddedStore, sealed: bool) -> None:
    store.write([rows("mem", "used_percent", {}, {"a": [1.0] * 30 + [50.0, 90.0], "b": [7.0, 20.0]})])
    if sealed:
        store.maintenance.run(NOW + 3 * 3_600_000)

    assert seen(store, "metric: mem.used_percent, above: 1") == {"a": 90.0, "b": 20.0}
    assert seen(store, "metric: mem.used_percent, above: 1, agg: avg, window: 20s") == {"a": 70.0, "b": 13.5}
    assert seen(store, "metric: mem.used_percent, above: 1, agg: count, window: 5m") == {"a": 30.0, "b": 2.0}
    assert seen(store, "metric: mem.used_percent, above: 1, agg: max, window: 2h") == {"a": 90.0, "b": 20.0}
    assert seen(store, "metric: mem.used_percent, above: 1, agg: count, window: 2d") == {"a": 32.0, "b": 2.0}


def test_groups_and_rates_come_from_the_store(store: EmbeddedStore) -> None:
    counters = {
        "a": [0.0, 100.0, 200.0, 0.0, 100.0],
        "b": [0.0, 100.0, 200.0, 300.0, 400.0],
        "c": [0.0, 10.0, 20.0, 30.0, 40.0],
    }
    store.write([rows("net", "bytes_sent", {"interface": "eth0"}, counters)])

    by_rack = "metric: net.bytes_sent, transform: rate, window: 40s, group_by: [rack], group_agg: sum, above: 1"
    assert seen(store, by_rack) == {"r1": 20.0, "r2": 1.0}
    assert seen(store, "metric: net.bytes_sent, transform: increase, window: 40s, above: 1") == {
        "a": 300,
        "b": 400,
        "c": 40,
    }


def test_the_shipped_rules_find_what_is_wrong_and_who_did_it(
    store: EmbeddedStore, engine: sa.Engine, directory: HostDirectory
) -> None:
    desk = Desk(store, engine, "https://mon.example.com")
    desk.use(loads(pack.DEFAULT.read_text(), "pack"), NOW, 0)
    directory.put(replace(directory.get("c") or Host("c"), last_seen_ms=NOW - 600_000, connected=False))
    desk.tick(NOW, 0)
    for index in range(30):
        at = NOW + index * 30_000
        for name in ("a", "b"):
            directory.put(replace(directory.get(name) or Host(name), last_seen_ms=at))
        store.write([_bad_memory(at), _processes(at)])
        desk.tick(at + 15_000, 130_000 + index * 30_000)

    found = {(one.labels["host"], one.rule): one for one in list_alerts(engine, states=("firing",))}

    assert set(found) == {("a", "MemoryAvailable"), ("c", "HostSilent")}
    memory, silent = found["a", "MemoryAvailable"], found["c", "HostSilent"]
    assert (memory.level, memory.annotations["summary"]) == ("critical", "a has 2.5 % of its memory available")
    assert memory.annotations["top_processes"] == "java 8 GiB, bash 4 MiB"
    assert "the host is down, the agent stopped, or the network is cut" in silent.annotations["summary"]


def _bad_memory(at: int) -> Frame:
    found = [Row(host, at, {"available_percent": value}) for host, value in (("a", 2.5), ("b", 40.0))]
    return store_rows.frame("mem", found)


def _processes(at: int) -> Frame:
    table = (("1", "bash", 4.0 * 2**20), ("2", "java", 8.0 * 2**30))
    named = [Row("a", at, {"name": name, "rss": rss, "cpu_percent": 1.0}, {"rank": rank}) for rank, name, rss in table]
    return store_rows.frame("process_top", named)


def test_custom_measurements_are_alerted_on_like_any_other(store: EmbeddedStore, engine: sa.Engine) -> None:
    text = """version: 1
settings: {eval_delay: 0s}
rules: [{name: Queue, metric: shop.orders_waiting, above: 5}]
receivers: {ops: {webhook: {url: "https://example.com/"}}}
routes: [{to: ops, group_wait: 0s}]
"""
    store.write([rows("shop", "orders_waiting", {"queue": "web"}, {"a": [9.0], "b": [1.0]})])
    desk = Desk(store, engine)
    desk.use(loads(text, "r"), NOW, 0)

    desk.tick(NOW, 0)

    (job,) = Outbox(engine, "test").claim("ops", NOW, 4, 60_000)
    assert [(one.labels["host"], one.labels["queue"], one.value) for one in job.notification.alerts] == [
        ("a", "web", 9.0)
    ]


def test_the_fleet_knows_the_interval_in_use(directory: HostDirectory) -> None:
    assert fleet.at(directory.list(), NOW).interval_ms == 10_000
